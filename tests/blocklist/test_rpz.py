from __future__ import annotations

import pytest

from guardian.blocklist import entry
from guardian.blocklist.parse import parse_list, unpack
from guardian.names import format_name

ZONE = b"""\
$TTL 300
@ IN SOA localhost. root.localhost. (
      1 ; serial
      3600 900
      604800 300 )
  IN NS localhost.
block.example        CNAME .
*.block.example      CNAME .
nodata.example 60 IN CNAME *.
drop.example         CNAME rpz-drop.
pass.example         CNAME rpz-passthru.
*.pass.example       CNAME rpz-passthru.
self.example         CNAME self.example.
null.example         A 0.0.0.0
wall.example         CNAME page.isp.example.
wall2.example        A 192.0.2.1
32.1.2.0.192.rpz-ip  CNAME .
ns.example.rpz-nsdname CNAME .
text.example         TXT "a ( that ; is quoted"
tcp.example          CNAME rpz-tcp-only.
com                  CNAME .
a*b.example          CNAME .
"""


def names(packed: bytes) -> list[str]:
    return sorted(map(format_name, unpack(packed)))


def test_a_zone_is_read_by_its_actions() -> None:
    parsed = parse_list(ZONE)
    assert parsed.facts.format == "rpz"
    assert names(parsed.block) == ["block.example"]
    assert names(parsed.block_exact) == ["block.example", "drop.example", "nodata.example", "null.example"]
    assert names(parsed.allow) == ["pass.example"]
    assert names(parsed.allow_exact) == ["pass.example", "self.example"]
    assert dict(parsed.facts.refused) == {
        entry.REDIRECT: 2,
        entry.UNSUPPORTED: 4,
        entry.SINGLE_LABEL: 1,
        entry.PATTERN: 1,
    }


def test_owners_are_relative_to_the_zone() -> None:
    zone = b"""\
$ORIGIN rpz.isp.example.
@ SOA localhost. root.localhost. 1 2 3 4 5
a.example CNAME .
b.example.rpz.isp.example. CNAME .
c.example. CNAME .
$ORIGIN example.rpz.isp.example.
d CNAME .
  A 0.0.0.0
*.e CNAME .
"""
    parsed = parse_list(zone, "rpz")
    assert names(parsed.block_exact) == ["a.example", "b.example", "d.example", "d.example"]
    assert names(parsed.block) == ["e.example"]
    assert dict(parsed.facts.refused) == {entry.UNSUPPORTED: 1}
    assert parsed == parse_list(zone, "rpz", careful=True)


def test_a_parenthesis_that_is_never_closed_does_not_swallow_the_list() -> None:
    zone = b"@ SOA localhost. root.localhost. ( 1\n" + b"".join(b"n%d.example CNAME .\n" % n for n in range(1000))
    parsed = parse_list(zone, "rpz")
    assert parsed.facts.entries > 900
    assert parsed.facts.refused == {entry.NOT_A_NAME: 1}


def test_an_origin_holds_for_the_rest_of_a_long_zone() -> None:
    zone = b"$ORIGIN rpz.isp.example.\n$ORIGIN com.rpz.isp.example.\n" + b"".join(
        b"www.n%d CNAME .\n" % number for number in range(30_000)
    )
    parsed = parse_list(zone)
    assert len(zone) > 400_000
    assert "www.n29999.com" in names(parsed.block_exact)
    assert parsed == parse_list(zone, careful=True)


@pytest.mark.parametrize("filler", [0, 1 << 19])
def test_an_owner_left_out_is_that_of_the_line_before_on_both_paths(filler: int) -> None:
    """Also when the line before was taken by the fast path, in this stretch or at the end of the one before."""
    name = b"x" * 40
    plain = b"".join(b"%s%d.example CNAME .\n" % (name, n) for n in range(filler // 60))
    data = b"first.example CNAME .\n" + plain + b"last.example CNAME .\n; why\n\n CNAME rpz-passthru.\n"
    for careful in (False, True):
        for cut in (0, len(data) - 21):  # a stretch may end right before the line without its owner
            chunks = [data[:cut], data[cut:]] if cut else [data]
            assert parse_list(chunks, "rpz", careful).allow_exact == b"\4last\7example\0"
