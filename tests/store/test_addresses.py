"""The table of addresses on disk: whole or refused, and the old one stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guardian.blocklist.addresses import AddressTable, build_table, parse_network
from guardian.errors import ListError
from guardian.store.addresses import address_file, load_addresses, write_addresses


def make(text: str) -> AddressTable:
    return build_table([("bypass:doh", parse_network(text))])


def test_a_table_is_written_read_and_replaced(tmp_path: Path) -> None:
    path = Path(address_file(str(tmp_path)))
    write_addresses(path, make("8.8.8.8"))
    assert load_addresses(path).lookup(bytes([8, 8, 8, 8])) == "bypass:doh"
    write_addresses(path, make("9.9.9.9"))
    assert load_addresses(path).lookup(bytes([8, 8, 8, 8])) == ""
    assert os.listdir(path.parent) == ["addresses"] and path.stat().st_mode & 0o777 == 0o640


def test_a_table_that_cannot_be_read_back_leaves_the_old_one(tmp_path: Path) -> None:
    class Broken(AddressTable):
        def to_bytes(self) -> bytes:
            return super().to_bytes()[:-1]

    path = tmp_path / "addresses"
    write_addresses(path, make("8.8.8.8"))
    good = path.read_bytes()
    source = make("9.9.9.9")
    broken = Broken(
        source.tags, (source._starts4, source._numbers4), (source._highs, source._lows, source._numbers6), 1
    )
    with pytest.raises(ListError, match="cut off"):
        write_addresses(path, broken)
    assert path.read_bytes() == good and os.listdir(tmp_path) == ["addresses"]


def test_the_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("8.8.8.8\n")
    (tmp_path / "cut").write_bytes(make("8.8.8.8").to_bytes()[:50])
    for name, why in (("none", "No such file"), ("text", "this is no address list"), ("cut", "cut off")):
        with pytest.raises(ListError, match=f"{name}: .*{why}"):
            load_addresses(tmp_path / name)
    with pytest.raises(ListError, match="Is a directory"):
        load_addresses(tmp_path)
