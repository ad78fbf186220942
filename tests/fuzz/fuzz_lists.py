"""Lists from the network, to `guardian.blocklist.parse.parse_list`.

Invariant: nothing is raised, in any format. Every entry is a lower-case wire name of at most 255 bytes with two labels
or more; the counts add up; and the fast path and the careful one say the same, refusals and their reasons included.
"""

from __future__ import annotations

from guardian.blocklist.parse import FORMATS, ListFacts, ParsedList, parse_list, unpack
from guardian.names import MAX_NAME_BYTES
from tests.fuzz.driver import main, mutate_text

SEEDS = [
    b"# comment\nads.example.com\ntracker.example.org # why\r\n\nxn--e1afmkfd.example\n_srv._tcp.example.com.\n",
    b"127.0.0.1 localhost\n0.0.0.0 ads.example.com more.example.com\n::1 ip6.example\n0 zero.example.net\n",
    b"[Adblock Plus 2.0]\n! title\n||ads.example.com^\n@@||good.example.com^\n||x.example^$third-party,important\n"
    b"##.banner\n|https://exact.example/path|\n/banner[0-9]+/\n||wild*.example^\n",
    b"address=/ads.example.com/0.0.0.0\nserver=/x.example/\nlocal=/one.example/two.example/\naddress=/#/1.2.3.4\n",
    b"$TTL 60\n@ SOA localhost. root.localhost. 1 2 3 4 5\n NS localhost.\nads.example.com CNAME .\n"
    b"*.ads.example.com CNAME .\ngood.example.com CNAME rpz-passthru.\n32.1.2.0.192.rpz-ip CNAME .\n",
    b"a.example.com CNAME .\n CNAME rpz-passthru.\n\t60 IN CNAME *.\n\x0bb.example.com CNAME .\n",
    b"*.ads.example.com\n*.b.example.org\n",
    b"http://bad.example.com/path/page.html?q=1\nhttps://user@evil.example:8443/a/../b#c\nexample.net/only/this\n",
    "пример.example\nmünchen.example\n例え.example\nﬁ.example\n".encode(),
    b"\xef\xbb\xbfbom.example.com\nads.example.com\n",
    b"<!DOCTYPE html><html><head><title>404</title></head>\n<body><p>Not found</p></body></html>\n",
    b"com\nco.uk\n192.0.2.1\n2001:db8::1\n" + b"a" * 70 + b".example\n" + b"a." * 130 + b"example\n",
]
EXTRA = [
    b"||", b"^", b"@@", b"$", b"*", b"#", b"##", b"!", b";", b"\0", b"\xff", b"\xc3", b"\xe2\x80\xa8", b"\x85", b"\r",
    b"\x0b", b"\t", b"0.0.0.0 ", b"address=/", b" CNAME .", b"http://", b"%00", b"\\046", b"..", b".", b"/", b"(",
    b")", b"$ORIGIN x.y.", b"$INCLUDE /etc/passwd", b"xn--", b"xn--a-ecp.ru", "ａｄｓ．ｅｘａｍｐｌｅ".encode(),
    "\u200d.example".encode(), b"a" * 300,
]  # fmt: skip


def check(data: bytes) -> None:
    for format_ in ("auto", *FORMATS):
        fast, careful = parse_list(data, format_), parse_list(data, format_, careful=True)
        assert contents(fast) == contents(careful), format_
        assert facts_of(fast.facts) == facts_of(careful.facts), format_
        check_entries(fast)


def contents(parsed: ParsedList) -> list[list[bytes]]:
    packed = (parsed.block, parsed.block_exact, parsed.allow, parsed.allow_exact)
    return [*(sorted(unpack(names)) for names in packed), sorted(parsed.urls), sorted(parsed.urls_exact)]


def facts_of(facts: ListFacts) -> tuple[object, ...]:
    return facts.format, facts.lines, facts.content, facts.entries, dict(facts.refused)


def check_entries(parsed: ParsedList) -> None:
    names = [name for kind in contents(parsed)[:4] for name in kind]
    for name in names:
        assert name == name.lower()
        assert len(name) <= MAX_NAME_BYTES
        labels = 0
        position = 0
        while length := name[position]:
            assert length < 64
            position += 1 + length
            labels += 1
        assert position == len(name) - 1
        assert labels >= 2
    assert parsed.facts.entries == len(names) + len(parsed.urls) + len(parsed.urls_exact)
    assert parsed.facts.content <= parsed.facts.lines


mutate = mutate_text(EXTRA)

if __name__ == "__main__":
    main(check, SEEDS, mutate)
