"""Builds: salts and canaries of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.blocklist.feed_base import STANDARD, SuffixRules
from guardian.desk.builds import (
    begin_epoch,
    check_canaries,
    encode_build,
    load_builds,
    make_bare_base,
    make_build,
    make_canaries,
    make_epoch,
    place_of,
)
from guardian.desk.repository import write_file
from guardian.errors import DeskError
from guardian.names import parse_name

NOW = 1_800_000_000.0  # 2027-01-15
RULES = SuffixRules(frozenset({parse_name("md"), parse_name("co.test")}), frozenset(), frozenset())


def test_builds_come_back_as_they_were_the_default_first(tmp_path: Path) -> None:
    made = [make_build(name, NOW) for name in ("isp-two", "default", "isp-one")]
    for build in made:
        write_file(tmp_path / place_of(build.name), encode_build(build))
    assert list(load_builds(tmp_path)) == ["default", "isp-one", "isp-two"]
    assert set(map(encode_build, load_builds(tmp_path).values())) == set(map(encode_build, made))
    assert len({build.epoch.salt for build in made}) == 3
    assert made[0].cost == STANDARD


def test_a_broken_build_is_told(tmp_path: Path) -> None:
    write_file(tmp_path / place_of("default"), b'{"name": "default"}')
    with pytest.raises(DeskError, match=r"default\.json: .*epoch"):
        load_builds(tmp_path)


@pytest.mark.parametrize("name", ["", "Default", "a b", "../up", "a" * 17, "-a", "a/b"])
def test_names_of_builds_are_words(name: str) -> None:
    with pytest.raises(DeskError, match="is no name of a build"):
        make_build(name, NOW)


def test_epochs_are_named_after_the_quarter() -> None:
    build = make_build("isp-one", NOW)
    assert build.epoch.name == "2027q1-isp-one"
    begun = begin_epoch(build, NOW)
    assert begun.coming
    assert (begun.coming.name, begin_epoch(begun, NOW)) == ("2027q1-isp-one-2", begun)
    assert begun.coming.salt != build.epoch.salt
    assert make_epoch("default", NOW + 80 * 86400, [build.epoch.name]).name == "2027q2-default"


def test_canaries_stand_straight_below_a_public_suffix() -> None:
    base = make_bare_base(make_build("default", NOW).epoch, STANDARD, RULES)
    for suffix in ("md", "co.test"):
        names = make_canaries(suffix, base)
        assert len(set(names)) == 3
        assert all(base.key_domain(parse_name(name)) == parse_name(name) for name in names)
        assert check_canaries([names[0].upper()], base) == [names[0]]
    for wrong in ("hotline.md", "a..b", ""):
        with pytest.raises(DeskError):
            make_canaries(wrong, base)
    with pytest.raises(DeskError, match="can be registered"):
        check_canaries(["www.canary.md"], base)
