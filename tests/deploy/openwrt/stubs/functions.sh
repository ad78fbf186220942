# The tests' own /lib/functions.sh: reading of settings, by the stub of uci. Runtime state is read too, as OpenWrt does.
config_load() {
	CONFIG_SECTIONS=
	eval "$(uci -q -X -P /var/state show "$1" | sed -n \
		-e "s/^[^.]*\.\([A-Za-z0-9_]*\)=\(.*\)$/CONFIG_SECTIONS=\"\$CONFIG_SECTIONS \1\"; CONFIG_\1_TYPE=\2/p" \
		-e "s/^[^.]*\.\([A-Za-z0-9_]*\)\.\([A-Za-z0-9_]*\)=\(.*\)$/CONFIG_\1_\2=\$(join_words \3)/p")"
}

join_words() {
	echo "$*"
}

config_get() { # VARIABLE SECTION OPTION DEFAULT
	eval "$1=\"\${CONFIG_${2}_${3}:-\$4}\""
}

config_get_bool() { # VARIABLE SECTION OPTION DEFAULT
	local told
	config_get told "$2" "$3" "$4"
	case "$told" in
		1 | on | true | yes | enabled) eval "$1=1" ;;
		0 | off | false | no | disabled) eval "$1=0" ;;
		*) eval "$1=\"\$4\"" ;;
	esac
}

config_foreach() { # FUNCTION TYPE
	local section kind
	for section in $CONFIG_SECTIONS; do
		config_get kind "$section" TYPE
		[ "$kind" != "$2" ] || "$1" "$section"
	done
}
