"""guardian check: all problems of all files in one go, nothing written."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from guardian.blocklist.addresses import build_table, parse_network
from guardian.store.addresses import address_file, write_addresses

Guardian = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_is_well_and_nothing_is_written(guardian: Guardian, folder: Path) -> None:
    before = tree(folder)
    done = guardian("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("no problems\n")
    assert "3 profiles, 1 device\n" in done.stdout
    assert "starter lists" in done.stdout
    assert tree(folder) == before
    assert not (folder / "state").exists()


@pytest.mark.parametrize("name", ["laptop.yaml", "router.yaml"])
def test_examples(guardian: Guardian, name: str, tmp_path: Path) -> None:
    text = (ROOT / "examples" / name).read_text().replace("/etc/guardian/household.yaml", "home.yaml")
    (tmp_path / "e.yaml").write_text(text.replace("household.yaml", "home.yaml").replace("../state", "state"))
    done = guardian("check", "--config", str(tmp_path / "e.yaml"))
    assert (done.returncode, done.stderr) == (0, "")


def test_problems_of_all_files_in_one_go(guardian: Guardian, folder: Path) -> None:
    settings = folder / "guardian.yaml"
    text = settings.read_text() + "lists: {categories: [gamblin], mandatory: [{name: n, file: none.txt}]}\n"
    settings.write_text(text)
    home = folder / "home.yaml"
    home.write_text(home.read_text() + "  phone: {profile: anna}\n")
    (folder / "state" / "lists").mkdir(parents=True)
    (folder / "state" / "lists" / "guardian.image").write_bytes(b"no image")
    done = guardian("check")
    assert done.returncode == 2
    for part in (
        f"{settings}:5: the mandatory list 'n' cannot be read: {folder}/none.txt: No such file or directory",
        f"{settings}:5: no source has the category 'gamblin', did you mean 'gambling'?",
        f"{home}:14: there is no profile 'anna', did you mean 'ana'?",
        f"{folder}/state/lists/guardian.image",
    ):
        assert part in done.stderr
    assert "no problems" not in done.stdout


def test_a_table_of_addresses_is_looked_at(guardian: Guardian, folder: Path) -> None:
    assert " addresses\n" in guardian("check").stdout
    path = Path(address_file(str(folder / "state")))
    write_addresses(path, build_table([("bypass:tor", parse_network("5.6.7.8"))]))
    done = guardian("check")
    assert done.returncode == 0 and f"addresses: {path}, 1 addresses and prefixes" in done.stdout
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    done = guardian("check")
    assert done.returncode == 2
    assert f"{path}: the address list is damaged: its checksum is wrong; run 'guardian sync'" in done.stderr


def test_json(guardian: Guardian, folder: Path) -> None:
    done = guardian("check", "--json")
    assert json.loads(done.stdout)["ok"] is True
    (folder / "guardian.yaml").write_text("upstreams: {servers: [x]}\ndns: {listen: [y]}\n")
    done = guardian("check", "--json")
    assert done.returncode == 2
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert [problem["where"].rpartition(":")[2] for problem in report["problems"]] == ["1", "2"]


def test_a_saved_household_is_looked_at_as_well(guardian: Guardian, folder: Path) -> None:
    assert guardian("household", "import", "home.yaml").returncode == 0
    assert "not in force" in guardian("check").stdout
    with closing(sqlite3.connect(folder / "state" / "settings.db")) as connection, connection:
        connection.execute("UPDATE rules SET pattern = 'x..y', match = 'subdomains'")
    done = guardian("check")
    assert done.returncode == 2
    assert f"{folder}/state/settings.db: 'x..y' has an empty label" in done.stderr
