#!/bin/sh
# What the packages feed's continuous integration runs behind the installation: test.sh PACKAGE VERSION
# On a router it can be run by hand: nothing is started that stays, and no setting is touched.
set -e

package=$1 version=$2

say() {
	echo "guardian/test.sh: $*" >&2
}

check_program() {
	shown=$(guardian --version)
	[ "$shown" = "guardian $version" ] || { say "'$shown' instead of version $version"; exit 1; }
	guardian check --config /etc/config/guardian >/dev/null
	# What the console, updates and upstreams over HTTPS import, from the bundle.
	python3 -I - <<-'EOF'
		from guardian.bundled import add_bundled, find_bundled
		assert find_bundled() == "/usr/lib/guardian/bundled", find_bundled()
		add_bundled()
		import guardian.gateway, guardian.hotline.trust, guardian.web.process, h2.connection
		from guardian.filter.openssl import load_cipher
		assert load_cipher() is not None, "no libcrypto: QUIC cannot be read"
	EOF
}

# Asks a gateway of its own for the test name of the mandatory list: NXDOMAIN or the block page's address, never an answer.
check_answers() {
	folder=$(mktemp -d)
	trap 'kill "$gateway" 2>/dev/null || :; rm -rf "$folder"' EXIT
	cat >"$folder/guardian" <<-EOF
		config guardian 'main'
			option state '$folder'
		config dns 'dns'
			list listen '127.0.0.1:5399'
		config upstreams 'upstreams'
			list servers '127.0.0.1:5398'
		config block 'block'
			option mandatory 'nxdomain'
		config control 'control'
			option socket '$folder/control.sock'
	EOF
	guardian gateway --config "$folder/guardian" &
	gateway=$!
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		guardian status --config "$folder/guardian" >/dev/null 2>&1 && break
		sleep 1
	done
	python3 -I - <<-'EOF'
		import socket
		name = b"".join(bytes([len(word)]) + word for word in b"mandatory.guardian.test".split(b".")) + b"\0"
		asked = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x01\x00\x01"
		with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
		    client.settimeout(5)
		    client.sendto(asked, ("127.0.0.1", 5399))
		    answer = client.recv(2048)
		assert answer[:2] == asked[:2] and answer[3] & 15 == 3, answer  # NXDOMAIN
	EOF
	kill "$gateway"
	wait "$gateway"
}

case $package in
guardian)
	check_program
	check_answers
	;;
guardian-notify)
	python3 -I - <<-'EOF'
		from guardian.bundled import add_bundled
		add_bundled()
		import apprise
		assert apprise.Apprise.instantiate("ntfy://topic") is not None, "no services are found"
	EOF
	;;
*)
	say "no such package: $package"
	exit 1
	;;
esac
echo "$package $version works"
