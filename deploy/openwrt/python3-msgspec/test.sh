#!/bin/sh
# What the packages feed's continuous integration runs behind the installation: test.sh PACKAGE VERSION
set -e

[ "$1" = python3-msgspec ] || exit 0

python3 -I - "$2" <<'EOF'
import sys

import msgspec


class Home(msgspec.Struct):
    name: str
    children: list[str] = []


assert msgspec.__version__ == sys.argv[1], msgspec.__version__
assert msgspec.json.decode(b'{"name": "a", "children": ["b"]}', type=Home) == Home("a", ["b"])
assert msgspec.json.encode(Home("a")) == b'{"name":"a","children":[]}'
try:
    msgspec.json.decode(b'{"name": 1}', type=Home)
except msgspec.ValidationError as error:
    assert str(error) == "Expected `str`, got `int` - at `$.name`", error
else:
    raise SystemExit("a wrong type was taken")
EOF
