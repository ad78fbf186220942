"""The claim code: made once, kept from others, read from a label, told apart from wrong ones."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from guardian.config import Config, parse_config
from guardian.errors import ConfigError
from guardian.web.claim import ALPHABET, claim_path, forget_claim_code, is_claim_code, make_claim_code


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "state").mkdir()
    return parse_config("upstreams: {servers: [192.0.2.1]}\nstate: state\n", str(tmp_path / "guardian.yaml"))


def test_it_is_made_once_and_nobody_else_reads_it(config: Config) -> None:
    before = os.umask(0)
    try:
        code = make_claim_code(config)
    finally:
        os.umask(before)
    assert make_claim_code(config) == code
    assert stat.S_IMODE(os.stat(claim_path(config)).st_mode) == 0o600
    assert len(code) == 11 and code[5] == "-" and set(code.replace("-", "")) <= set(ALPHABET)
    assert not set("01OIL") & set(ALPHABET)
    assert os.listdir(config.state) == ["claim-code"]


def test_each_box_has_another(config: Config) -> None:
    codes = set()
    for _ in range(50):
        codes.add(make_claim_code(config))
        forget_claim_code(config)
    assert len(codes) == 50


def test_two_processes_make_one_code(config: Config) -> None:
    """`guardian run` and `guardian web` start together."""
    codes: list[str] = []
    start = threading.Barrier(16)

    def make() -> None:
        start.wait()
        codes.append(make_claim_code(config))

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(codes)) == 1 and len(codes) == 16 and os.listdir(config.state) == ["claim-code"]


def test_people_type_it_as_they_like(config: Config) -> None:
    code = make_claim_code(config)
    for given in (code, code.lower(), code.replace("-", ""), f"  {code.replace('-', ' - ')} ", code.replace("-", "–")):
        assert is_claim_code(config, given)
    other = "A" if code[0] != "A" else "B"
    for wrong in ("", "-", other + code[1:], code[:-1], code + "A", "ЖЖЖЖЖ-ЖЖЖЖЖ", "\ud800"):
        assert not is_claim_code(config, wrong)


def test_a_label_of_an_isp(config: Config, tmp_path: Path) -> None:
    label = tmp_path / "label"
    label.write_text("k0l1-9xyz\n")
    config = replace(config, web=replace(config.web, claim_code=str(label)))
    assert make_claim_code(config) == "k0l1-9xyz"
    assert is_claim_code(config, "KOLI 9XYZ") and is_claim_code(config, "k0l1-9xyz")
    assert not is_claim_code(config, "k0l1-9xy")
    forget_claim_code(config)
    assert label.exists() and not os.path.exists(claim_path(config))


@pytest.mark.parametrize("content", ["", "abc", "--------", "\xff"])
def test_a_label_that_is_none(config: Config, tmp_path: Path, content: str) -> None:
    """An empty file must not make an empty code right."""
    (tmp_path / "label").write_bytes(content.encode("latin-1"))
    config = replace(config, web=replace(config.web, claim_code=str(tmp_path / "label")))
    with pytest.raises(ConfigError):
        is_claim_code(config, "")
    config = replace(config, web=replace(config.web, claim_code=str(tmp_path / "missing")))
    with pytest.raises(ConfigError, match="missing: the code of the box's label is not there: write it into this file"):
        make_claim_code(config)


def test_an_empty_file_of_our_own_is_no_code(config: Config) -> None:
    """A disk that was full, or somebody who emptied it: it is put aside, and the box has another code, not none."""
    for damaged in ("", "ABC", "abcdefghjk", "\0" * 10, "\xff" * 10):
        Path(claim_path(config)).write_bytes(damaged.encode("latin-1"))
        assert not is_claim_code(config, "") and not is_claim_code(config, damaged)
        assert is_claim_code(config, make_claim_code(config))
        assert Path(f"{claim_path(config)}.damaged").read_bytes() == damaged.encode("latin-1")
        forget_claim_code(config)
