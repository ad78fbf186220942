# The tests' own /lib/functions/network.sh: netifd knows a network when /tmp/netifd/NETWORK says so.
network_word() { # VARIABLE NETWORK WORD
	local told
	told="$(sed -n "s/^$3 //p" "/tmp/netifd/$2" 2>/dev/null | head -n 1)"
	[ -n "$told" ] || { eval "$1=" && return 1; }
	eval "$1=\"\$told\""
}

network_get_device() {
	network_word "$1" "$2" device
}

network_get_ipaddr() {
	network_word "$1" "$2" ipaddr
}
