#!/bin/sh
# Checks installed packages of this feed on a router: test.sh [PACKAGE VERSION]; without words, all that have a check.
# The packages feed's continuous integration calls the test.sh in each package's folder by itself.
set -e

feed=$(dirname "$0")

check() { # PACKAGE VERSION
	case $1 in
	guardian | guardian-notify) sh "$feed/guardian/test.sh" "$1" "$2" ;;
	python3-msgspec) sh "$feed/python3-msgspec/test.sh" "$1" "$2" ;;
	*) echo "test.sh: no such package: $1" >&2; exit 1 ;;
	esac
}

if [ $# -eq 2 ]; then
	check "$1" "$2"
	exit
fi
installed() {
	if command -v apk >/dev/null; then
		apk list --installed --manifest "$1" 2>/dev/null
	else
		opkg list-installed "$1" 2>/dev/null | sed 's/ - / /'
	fi
}
for package in guardian guardian-notify python3-msgspec; do
	version=$(installed "$package" | sed -n "s/^$package \\(.*\\)-[^-]*\$/\\1/p")
	[ -z "$version" ] || check "$package" "$version"
done
