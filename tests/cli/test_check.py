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
    (folder / "guardian.yaml").write_text("upstreams: {servers: [x]}\ndns: {listen: [y y]}\n")
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


def test_uci_and_a_providers_file(guardian: Guardian, folder: Path) -> None:
    (folder / "isp").mkdir()
    theirs = "provider: Telecom Plus\nsupport: 1181\nlists: {mandatory: [{name: national, file: n.txt}]}\n"
    (folder / "isp" / "provisioning.yaml").write_text(theirs + "claim_code: {policy: label, file: claim}\n")
    (folder / "guardian").write_text(
        "config guardian 'main'\n\toption state state\n\toption provisioning isp/provisioning.yaml\n"
        "config upstreams\n\tlist servers 192.0.2.1\nconfig block\n\toption support 'Uncle Bob'\n"
        "config lists\n\tlist categories gamblin\n"
    )
    done = guardian("check", "--config", "guardian")
    assert done.returncode == 2
    where = f"{folder}/isp/provisioning.yaml:3"
    missing = f"{where}: the mandatory list 'national' cannot be read: {folder}/isp/n.txt: No such file or directory"
    assert done.stderr.splitlines() == [
        missing,
        "guardian:9: no source has the category 'gamblin', did you mean 'gambling'?",
    ]
    (folder / "isp" / "n.txt").write_text("bad.example\n")
    (folder / "guardian").write_text((folder / "guardian").read_text().replace("gamblin", "gambling"))
    done = guardian("check", "--config", "guardian")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"provider: Telecom Plus, {folder}/isp/provisioning.yaml\n" in done.stdout
    note = (
        f"guardian:7: note: 'block.support' does not hold: Telecom Plus sets it in {folder}/isp/provisioning.yaml:2\n"
    )
    assert note in done.stdout
    label = (
        f"{folder}/isp/provisioning.yaml:4: note: no claim code yet: the box's own belongs into {folder}/isp/claim\n"
    )
    assert label in done.stdout
    report = json.loads(guardian("check", "--config", "guardian", "--json").stdout)
    assert report["ok"] is True and note.strip() in report["notes"]
    (folder / "isp" / "claim").write_text("K7QF-29XW\n")
    assert "no claim code yet" not in guardian("check", "--config", "guardian").stdout


def test_uci_with_mistakes(guardian: Guardian, folder: Path) -> None:
    (folder / "guardian").write_text("config dns\n\tlist listn ::1\nconfig upstreams\n\toption servers x\n\tx y\n")
    done = guardian("check", "--config", "guardian")
    assert done.returncode == 2
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["guardian:2", "guardian:4", "guardian:5"]
    assert "did you mean 'list listen'?" in done.stderr


def test_files_of_the_hotline_are_looked_at(guardian: Guardian, folder: Path) -> None:
    path = folder / "guardian.yaml"
    path.write_text(path.read_text() + "hotline:\n  url: https://f.example\n  root: r.json\n")
    done = guardian("check")
    assert f"{path}:7: the hotline's root of trust cannot be read: {folder}/r.json" in done.stderr
