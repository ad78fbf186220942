"""Makers of devices, from files as IEEE and nmap write them. The system's own lists are asked where there are any."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian import makers
from guardian.makers import FILES, LONGEST_NAME, MakerFile, find_maker, open_files

OUI = """\
OUI/MA-L                                                    Organization                                 \r
company_id                                                  Organization                                 \r
                                                            Address                                      \r
\r
AA-BB-C0   (hex)\t\tExample Phones, Inc.\r
AABBC0     (base 16)\t\tExample Phones, Inc.\r
\t\t\t\t1 Main Street AC-DE-48   (hex)\r
\t\t\t\tTown    12345\r
\t\t\t\tUS\r
\r
00-00-5E   (hex)\t\tÎntreprinderea \u202eMold\u0000telecom\r
00005E     (base 16)\t\tÎntreprinderea Moldtelecom\r
\r
70-B3-D4   (hex)\t\tIEEE Registration Authority\r
70B3D4     (base 16)\t\tIEEE Registration Authority\r
\r
FC-FF-FC   (hex)\t\tPrivate\r
FCFFFC     (base 16)\t\tPrivate\r
\r
10-00-00   (hex)\t\t"""
MAM = """\
70-B3-D4   (hex)\t\tMiddle Makers
000000-0FFFFF     (base 16)\t\tMiddle Makers

70-B3-D4   (hex)\t\tLast of the Middle
F00000-FFFFFF     (base 16)\t\tLast of the Middle
"""
OUI36 = """\
70-B3-D4   (hex)\t\tSmall Makers
A5A000-A5AFFF     (base 16)\t\tSmall Makers
"""
NMAP = "# comment\nAABBC0 Other words\nAABBC4 Nmap Only\nAABBC81 Part Seven\nAABBC8123 Part Nine\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    texts = {"oui.txt": OUI, "mam.txt": MAM, "oui36.txt": OUI36, "nmap-mac-prefixes": NMAP, "empty.txt": ""}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "link.txt").symlink_to("oui.txt")
    names = ("missing.txt", "oui.txt", "link.txt", "mam.txt", "oui36.txt", "empty.txt", "nmap-mac-prefixes")
    monkeypatch.setattr(makers, "FILES", tuple(str(tmp_path / name) for name in names))
    for cached in (makers._find, makers._open_files):
        cached.cache_clear()
    return tmp_path


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for cached in (makers._find, makers._open_files):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("mac", "maker"),
    [
        ("00:00:5e:12:34:56", "Întreprinderea Moldtelecom"),
        ("00-00-5E-12-34-56", "Întreprinderea Moldtelecom"),
        ("70:b3:d4:0f:ff:ff", "Middle Makers"),
        ("70:b3:d4:f0:00:00", "Last of the Middle"),
        ("70:b3:d4:a5:a0:00", "Small Makers"),
        ("70:b3:d4:10:00:00", ""),  # a part that is nobody's
        ("fc:ff:fc:00:00:00", ""),
        ("10:00:00:00:00:00", ""),
        ("ac:de:48:00:00:00", ""),  # an address in the file that looks like an entry
        ("12:34:56:78:9a:bc", ""),
        ("", ""),
        ("aa:bb", ""),
        ("not a mac at all", ""),
    ],
)
def test_find_maker(folder: Path, mac: str, maker: str) -> None:
    assert find_maker(mac) == maker


def test_a_made_up_mac_has_no_maker(folder: Path) -> None:
    assert MakerFile(str(folder / "oui.txt")).find("AABBC0") == "Example Phones, Inc."
    assert find_maker("aa:bb:c0:00:00:01") == ""  # 0xaa: locally administered
    assert find_maker("ff:ff:ff:ff:ff:ff") == ""


def test_the_longest_prefix_wins(folder: Path) -> None:
    nmap = MakerFile(str(folder / "nmap-mac-prefixes"))
    found = [nmap.find(prefix) for prefix in ("AABBC4", "AABBC81", "AABBC8123", "AABBC8", "AABBC9")]
    assert found == ["Nmap Only", "Part Seven", "Part Nine", "", ""]


def test_files_that_are_there(folder: Path) -> None:
    assert len(open_files(makers.FILES)) == 4  # not the missing one, the empty one, the same one again
    (folder / "bytes.txt").write_bytes(b"00-00-01   (hex)\t\t" + b"\xff\xfe" + b"y" * 500 + b"\n" + os.urandom(5000))
    name = MakerFile(str(folder / "bytes.txt")).find("000001")
    assert (len(name), name[:3]) == (LONGEST_NAME, "\ufffd\ufffdy")


def test_a_list_of_the_usual_size_costs_little(folder: Path) -> None:
    lines = []
    for number in range(0, 36000 * 4, 4):
        digits = f"{number:06X}"
        lines.append(
            f"{digits[:2]}-{digits[2:4]}-{digits[4:]}   (hex)\t\tMaker {number}\r\n"
            f"{digits}     (base 16)\t\tMaker {number}\r\n\t\t\t\tStreet\r\n\r\n"
        )
    (folder / "large.txt").write_text("".join(reversed(lines)), newline="")
    before = time.process_time()
    large = MakerFile(str(folder / "large.txt"))
    spent = time.process_time() - before
    for number in (0, 4, 143996):
        assert large.find(f"{number:06X}") == f"Maker {number}"
    assert large.find("000001") == ""
    assert sum(len(each) * each.itemsize for each in large._index.values()) == 36000 * 8
    assert spent < 2.0


def test_the_lists_of_this_system() -> None:
    """Guardian answers the same as a plain search does, if the machine has a list; without one nobody is known."""
    files = [path for path in FILES if os.path.exists(path)]
    known = find_maker("00:00:0c:00:00:00")  # Cisco's first block
    assert bool(known) == bool(files)
