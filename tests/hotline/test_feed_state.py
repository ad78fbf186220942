"""The state of a feed comes back as it was saved, and a broken file is told, whatever is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import ListError
from guardian.hotline.feed_state import (
    CURRENT_FILE,
    GROWTH,
    MAX_STATE_BYTES,
    OFFLINE,
    STATE_FILE,
    FeedError,
    FeedState,
    Floor,
    ListState,
    feed_folder,
    format_state,
    load_state,
    read_current,
    save_state,
    write_current,
)

NUMBERS = st.integers(0, 1 << 33)
TIMES = st.floats(0, 1e11)
TEXTS = st.text(max_size=40)
LISTS = st.builds(
    ListState, NUMBERS, NUMBERS, NUMBERS, TIMES, TIMES, NUMBERS, TIMES, TIMES, st.sampled_from(["", GROWTH]), TEXTS
)
STATES = st.builds(
    FeedState,
    url=TEXTS,
    name=TEXTS,
    checked=TIMES,
    version=NUMBERS,
    expires=TIMES,
    code=st.sampled_from(["", OFFLINE]),
    lists=st.dictionaries(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True), LISTS, max_size=3),
    floors=st.dictionaries(TEXTS, st.builds(Floor, NUMBERS, TEXTS), max_size=3),
    reload_due=st.booleans(),
)


@given(state=STATES)
def test_a_state_comes_back_as_it_was(state: FeedState, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("feed")
    assert load_state(folder) is None
    save_state(folder, state)
    assert load_state(folder) == state
    assert json.loads((folder / STATE_FILE).read_bytes()) == json.loads(json.dumps(format_state(state)))


WRONG = [
    b"", b"{", b"[]", b"5", b"\xff", b'{"lists": 5}', b'{"lists": {"a": 5}}', b'{"lists": {"../x": {}}}',
    b'{"lists": {"a": {"serial": "5"}}}', b'{"checked": true}', b'{"checked": NaN}', b'{"url": 5}', b'{"floors": []}',
    b'{"floors": {"root": {"version": 1.5}}}', b'{"reload_due": 1}', b"[" * 100_000, b" " * (MAX_STATE_BYTES + 1),
]  # fmt: skip


@pytest.mark.parametrize("data", WRONG, ids=range(len(WRONG)))
def test_a_broken_state_is_told(data: bytes, tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_bytes(data)
    with pytest.raises(ListError, match=STATE_FILE):
        load_state(tmp_path)


def test_a_newer_guardian_may_have_written_more(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text('{"url": "http://x/", "more": 1, "lists": {"a": {"serial": 2, "more": []}}}')
    assert load_state(tmp_path) == FeedState(url="http://x/", lists={"a": ListState(serial=2)})


@given(data=st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["url", "checked", "lists", "floors", "serial", "a", "base"]), inner, max_size=4
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_lies_there_is_a_state_or_told(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("feed")
    for name, read in ((STATE_FILE, load_state), (CURRENT_FILE, read_current)):
        (folder / name).write_bytes(data)
        try:
            found = read(folder)
        except ListError as error:
            assert name in str(error)
            continue
        assert found is not None
        if isinstance(found, FeedState):
            save_state(folder, found)
            assert load_state(folder) == found


def test_the_files_in_force(tmp_path: Path) -> None:
    assert read_current(tmp_path) is None
    write_current(tmp_path, "2026q3-1.00112233.base", {"list-a": "list-a-7.deadbeef.tags", "b": "b-1.tags"})
    current = read_current(tmp_path)
    assert current is not None and current.base == tmp_path / "2026q3-1.00112233.base"
    assert current.lists == {"list-a": tmp_path / "list-a-7.deadbeef.tags", "b": tmp_path / "b-1.tags"}
    assert feed_folder("/var/lib/guardian") == Path("/var/lib/guardian/hotline")


@pytest.mark.parametrize(
    ("base", "lists"),
    [
        ("../2026q3-1.base", {}), ("/etc/passwd", {}), ("", {}), (".base", {}), ("2026q3-1.base\n", {}), (5, {}),
        ("2026q3-1.base", {"a": "../a-1.tags"}), ("2026q3-1.base", {"a": "b-1.tags"}), ("2026q3-1.base", {"a": 1}),
        ("2026q3-1.base", {"a": "a-1.base"}), ("2026q3-1.base", 5), ("2026q3-1.base", {"a/b": "a/b-1.tags"}),
    ],
)  # fmt: skip
def test_nothing_but_files_of_the_folder_is_in_force(base: object, lists: object, tmp_path: Path) -> None:
    (tmp_path / CURRENT_FILE).write_text(json.dumps({"base": base, "lists": lists}))
    with pytest.raises(ListError, match=CURRENT_FILE):
        read_current(tmp_path)


def test_what_is_wrong_is_told_in_one_place() -> None:
    state = FeedState(expires=100.0, lists={"b": ListState(code=GROWTH, error="too much"), "a": ListState(serial=1)})
    assert state.troubles() == (("b", GROWTH, "too much"),)
    assert not state.is_expired(100.0) and state.is_expired(100.1) and not FeedState().is_expired(1e12)
    state = FeedState(code=OFFLINE, error="no connection")
    assert state.troubles() == (("", OFFLINE, "no connection"),)


def test_an_error_is_fit_to_be_shown() -> None:
    assert str(FeedError(OFFLINE, "a\x1b[31m\ud800b\n" + "x" * 1000)).startswith("a?[31m?b?xxx")
    assert len(str(FeedError(OFFLINE, "x" * 1000))) < 500


def test_the_gateway_may_import_it() -> None:
    script = "import sys; import guardian.hotline.feed_state; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name not in sys.stdlib_module_names}
    assert not loaded & {"tuf", "msgspec", "cryptography", "securesystemslib", "yaml"}
