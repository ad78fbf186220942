from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.blocklist.compile import Source, compile_image
from guardian.errors import ListError
from guardian.names import parse_name
from guardian.store.images import map_image, write_image

NAME = parse_name("www.example.com")


def make(*tags: str) -> bytes:
    sources = [Source(tag, tag, names=(parse_name("example.com"),)) for tag in tags]
    return compile_image(sources, bytes(16), 0.0).to_bytes()


def test_an_image_is_written_mapped_and_replaced_under_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "lists" / "guardian.image"
    write_image(path, [make("old")])
    before = map_image(path)
    write_image(path, iter([make("new", "more")]))
    after = map_image(path)
    assert (before.tags, before.lookup(NAME)) == (("old",), 1)
    assert (after.tags, after.lookup(NAME)) == (("new", "more"), 3)
    before.verify()
    assert os.listdir(path.parent) == ["guardian.image"]


def test_an_image_that_does_not_pass_the_check_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "guardian.image"
    write_image(path, [make("old")])
    good = make("new")
    facts_broken = good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]
    for bad in ([], [b""], [good[:-8]], [facts_broken], [b"junk" * 1000]):
        with pytest.raises(ListError):
            write_image(path, bad)
        assert map_image(path).tags == ("old",)
        assert os.listdir(tmp_path) == ["guardian.image"]


def test_a_source_that_fails_in_the_middle_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "guardian.image"
    write_image(path, [make("old")])

    def chunks() -> Iterator[bytes]:
        yield make("new")[:100]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        write_image(path, chunks())
    assert os.listdir(tmp_path) == ["guardian.image"]


@pytest.mark.parametrize("when", ["first", "middle", "last"])
def test_a_writer_that_is_killed_leaves_the_old_one_and_the_next_succeeds(tmp_path: Path, when: str) -> None:
    path = tmp_path / "guardian.image"
    write_image(path, [make("old")])
    new = make("new")

    def chunks() -> Iterator[bytes]:
        pieces = {"first": [], "middle": [new[: len(new) // 2]], "last": [new]}[when]
        yield from pieces
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        write_image(path, chunks())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert map_image(path).tags == ("old",)
    write_image(path, [new])
    assert map_image(path).tags == ("new",)
    assert os.listdir(tmp_path) == ["guardian.image"]


def test_the_error_names_the_file(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    (tmp_path / "text").write_text("example.com\n")
    with pytest.raises(ListError, match=r"empty: the file is empty"):
        map_image(empty)
    with pytest.raises(ListError, match=r"none: No such file"):
        map_image(tmp_path / "none")
    with pytest.raises(ListError, match=r"text: this is no Guardian list image"):
        map_image(tmp_path / "text")
    with pytest.raises(ListError, match=r"Is a directory"):
        map_image(tmp_path)


def test_replacing_a_mapped_image_does_not_copy_it(tmp_path: Path) -> None:
    names = [b"\x0aname%06d\x07example\x00" % number for number in range(200_000)]
    data = compile_image([Source("t", "t", names=names)], bytes(16), 0.0).to_bytes()
    asked, names = names[:5000], []
    path = tmp_path / "guardian.image"
    write_image(path, [data])
    size = len(data)
    del data
    image = map_image(path)
    assert all(map(image.lookup, asked))
    before = anonymous_bytes()
    for _ in range(20):
        image = map_image(path)
        assert all(map(image.lookup, asked))
    assert size > 1_200_000
    assert anonymous_bytes() - before < size / 2


def anonymous_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("smaps_rollup has no Anonymous line")


def test_nobody_else_can_read_an_image_whatever_the_umask(tmp_path: Path) -> None:
    """With the key inside anybody could try names on a secret list."""
    path = tmp_path / "guardian.image"
    before = os.umask(0)
    try:
        left = tmp_path / ".guardian.image.new"
        left.write_bytes(b"of a killed writer")
        write_image(path, [make("mandatory:hotline")])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
