"""The provider's part of a first boot, and the script that reads the label's code: run by the router's shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.gateway.product import require

ISP = Path(__file__).parents[3] / "deploy" / "isp"
DEFAULTS, HOOK = ISP / "overlay" / "uci-defaults", ISP / "overlay" / "claim-code"
SHELLS = [words for words in (["busybox", "ash"], ["dash"]) if shutil.which(words[0])]
CODE = "K7QM-3FZX-9T2B"


@pytest.fixture(params=SHELLS, ids=lambda words: words[-1])
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    return words


class Box:
    """A router's file system below a folder; `logger` and `chown` write down what they were told."""

    def __init__(self, folder: Path, shell: list[str]) -> None:
        self.root, self._shell = folder / "box", shell
        self.state, self.image = self.root / "etc/guardian", self.root / "rom/etc/guardian"
        self.root.mkdir()
        self._tools = folder / "tools"
        self._tools.mkdir()
        for name in ("logger", "chown"):
            (self._tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{folder}/told\n')
            (self._tools / name).chmod(0o755)
        self._told = folder / "told"

    def write(self, name: str, data: str | bytes, mode: int = 0o644) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)
        return path

    def run(self, script: Path) -> subprocess.CompletedProcess[str]:
        settings = {"PATH": f"{self._tools}:{os.environ['PATH']}", "GUARDIAN_ROOT": str(self.root)}
        done = subprocess.run(
            [*self._shell, str(script)], capture_output=True, text=True, timeout=30, check=False, env=settings
        )
        assert done.stderr in ("", "Killed\n"), done.stderr
        return done

    def boot(self) -> int:
        return self.run(DEFAULTS).returncode

    def told(self) -> str:
        return self._told.read_text() if self._told.exists() else ""


@pytest.fixture
def box(tmp_path: Path, shell: list[str]) -> Box:
    return Box(tmp_path, shell)


def flash(box: Box, provisioning: str = "provider: New\n", national: str = "new.example\n") -> None:
    """Put an image on the box: /rom has it, and the overlay shows it where nothing else lies."""
    box.write("rom/etc/guardian/provisioning.yaml", provisioning)
    box.write("rom/etc/guardian/provider/national.txt", national)
    for name in ("provisioning.yaml", "provider/national.txt"):
        if not (box.state / name).exists():
            box.write(f"etc/guardian/{name}", (box.image / name).read_bytes())


def hook(box: Box, body: str) -> Path:
    return box.write("usr/lib/guardian/claim-code", f"#!/bin/sh\n{body}\n", 0o755)


def test_the_first_boot_of_an_image(box: Box) -> None:
    flash(box)
    hook(box, f"echo {CODE}")
    assert box.boot() == 0
    assert (box.state / "label-code").read_text() == f"{CODE}\n"
    assert (box.state / "label-code").stat().st_mode & 0o777 == 0o600
    assert (box.state / "provisioning.yaml").stat().st_mode & 0o777 == 0o644
    assert (box.state / "provider").stat().st_mode & 0o777 == 0o750
    assert (box.state / "provider" / "national.txt").stat().st_mode & 0o777 == 0o640
    assert f"chown -R root:guardian {box.state}/provider" in box.told()
    assert f"chown guardian:guardian {box.state}/label-code.new" in box.told()
    assert "provisioning-renewed" not in box.told() and sorted(os.listdir(box.state)) == [
        "label-code", "provider", "provisioning.yaml",
    ]  # fmt: skip


def test_a_new_image_is_not_hidden_by_what_an_old_one_left(box: Box) -> None:
    """sysupgrade brings /etc/guardian back: the home's own files stay, the provider's are those of the image."""
    box.write("etc/guardian/provisioning.yaml", "provider: Old\n")
    box.write("etc/guardian/provider/national.txt", "old.example\n")
    box.write("etc/guardian/settings.db", "the home's")
    flash(box)
    assert box.boot() == 0
    assert (box.state / "provisioning.yaml").read_text() == "provider: New\n"
    assert (box.state / "provider" / "national.txt").read_text() == "new.example\n"
    assert (box.state / "settings.db").read_text() == "the home's"
    assert "event=provisioning-renewed file=provisioning.yaml" in box.told()
    assert "event=provisioning-renewed file=provider/national.txt" in box.told()


def test_a_box_without_an_image_of_its_own(box: Box) -> None:
    """The script on a box that has no /rom (x86, or a package): nothing is taken, nothing is lost."""
    box.write("etc/guardian/provisioning.yaml", "provider: Mine\n")
    assert box.boot() == 0
    assert (box.state / "provisioning.yaml").read_text() == "provider: Mine\n"
    assert not (box.state / "label-code").exists()


def test_nothing_at_all(box: Box) -> None:
    assert box.boot() == 0 and box.state.is_dir()


@pytest.mark.parametrize(
    "body",
    [
        "exit 1", "true", "echo short12", "echo 'has spaces in it'", "printf '%050d' 0", "echo 'K7QM;reboot'",
        "printf 'K7QM3FZX\\nK7QM3FZX\\n'", "echo 'Ünïcödé-code'", f"echo {CODE}; exit 3", "echo '$(reboot)xxxx'",
        "kill -9 $$",
    ],
)  # fmt: skip
def test_what_is_no_code_is_told_and_asked_for_again(box: Box, body: str) -> None:
    hook(box, body)
    assert box.boot() == 1, "uci-defaults that fail are run again at the next boot"
    assert not (box.state / "label-code").exists() and "event=no-label-code" in box.told()
    hook(box, f"echo {CODE}")
    assert box.boot() == 0 and (box.state / "label-code").read_text() == f"{CODE}\n"


def test_a_code_that_was_there_is_not_lost_to_a_broken_script(box: Box) -> None:
    box.write("etc/guardian/label-code", f"{CODE}\n", 0o600)
    hook(box, "exit 1")
    assert box.boot() == 1 and (box.state / "label-code").read_text() == f"{CODE}\n"


# Where the example finds the label's code


def test_the_device_tree(box: Box) -> None:
    box.write("proc/device-tree/guardian,claim-code", f"{CODE}\0")
    assert box.run(HOOK).stdout == f"{CODE}\n"


def test_a_variable_of_u_boot(box: Box) -> None:
    box.write("usr/sbin/fw_printenv", f'#!/bin/sh\n[ "$*" = "-n guardian_claim" ] && echo {CODE}\n', 0o755)
    assert box.run(HOOK).stdout == f"{CODE}\n"


@pytest.mark.parametrize("end", [b"\0\0", b"\xff\xff", b"\n\xff"])
def test_the_factory_partition(box: Box, end: bytes) -> None:
    box.write(
        "proc/mtd", 'dev:    size   erasesize  name\nmtd0: 00100000 00020000 "BL2"\nmtd3: 00200000 00020000 "factory"\n'
    )
    box.write("dev/mtd3", b"\xff" * 0xFE00 + CODE.encode() + end + b"secrets of the radio")
    assert box.run(HOOK).stdout == f"{CODE}\n"


@pytest.mark.parametrize("held", [b"\xff" * 16, b"\0" * 16, b""])
def test_a_box_that_never_got_a_code(box: Box, held: bytes) -> None:
    box.write("proc/mtd", 'mtd3: 00200000 00020000 "factory"\n')
    box.write("dev/mtd3", b"\xff" * 0xFE00 + held)
    done = box.run(HOOK)
    assert (done.returncode, done.stdout) == (1, "")


def test_the_example_and_the_first_boot_fit(box: Box) -> None:
    box.write("proc/device-tree/guardian,claim-code", f"{CODE}\0")
    box.write("usr/lib/guardian/claim-code", HOOK.read_bytes(), 0o755)
    assert box.boot() == 0 and (box.state / "label-code").read_text() == f"{CODE}\n"


@pytest.mark.parametrize("script", [DEFAULTS, HOOK], ids=lambda path: path.name)
def test_the_shells_agree_with_the_scripts(script: Path) -> None:
    assert SHELLS, "neither busybox nor dash is here"
    for words in SHELLS:
        subprocess.run([*words, "-n", str(script)], check=True)
    require("shellcheck")
    subprocess.run(["shellcheck", "--shell=dash", str(script)], check=True)
    assert script.stat().st_mode & 0o111 == 0o111
