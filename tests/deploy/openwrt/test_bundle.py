"""`scripts/bundle-openwrt`: what it lays out is what was pinned, and what it refuses it refuses whole."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.deploy.openwrt.buildroot import FEED, ROOT, Buildroot

SCRIPT = ROOT / "scripts" / "bundle-openwrt"
LISTS = ("bundle.txt", "bundle-notify.txt")


def load_script() -> ModuleType:
    loader = SourceFileLoader("bundle_openwrt", str(SCRIPT))
    spec = importlib.util.spec_from_loader("bundle_openwrt", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bundle_openwrt"] = module
    was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = was
    return module


bundle_openwrt = load_script()


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False, timeout=120)


def make_wheel(folder: Path, name: str = "plain", files: dict[str, str] | None = None) -> tuple[Path, str]:
    """Make a wheel; return it and its line for a list."""
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in ({f"{name}/__init__.py": "VALUE = {'a', 'b', 'c'}\n"} if files is None else files).items():
            archive.writestr(path, text)
        archive.writestr(f"{name}-1.0.dist-info/licenses/LICENSE", f"Licence of {name}")
    return wheel, f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_hold_the_versions_that_the_tests_run_with(name: str) -> None:
    """The bundle is what the whole suite has tested, not something near it."""
    from importlib.metadata import version

    for pin in bundle_openwrt.read_list(FEED / "guardian" / name):
        assert version(pin.name) == pin.version, pin.name


def test_it_lays_out_what_was_pinned(tmp_path: Path) -> None:
    files = {
        "plain/__init__.py": "",
        "plain/tests/test_it.py": "",
        "plain/py.typed": "",
        "plain/data.txt": "kept",
        "plain/vendored/LICENSE.other": "Licence of another",
    }
    wheel, line = make_wheel(tmp_path / "wheels", files=files)
    (tmp_path / "some.txt").write_text(f"# a comment\n\n{line}\n")
    done = run("--wheels", wheel.parent, tmp_path / "some.txt", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert made == ["LICENSES.some", "plain/__init__.py", "plain/data.txt", "plain/vendored/LICENSE.other"]
    licenses = (tmp_path / "out" / "LICENSES.some").read_text()
    assert "Licence of plain" in licenses and "Licence of another" in licenses


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda line: line.replace("sha256:", "sha256:0")[:-1], "its SHA-256 is not the one"),
        (lambda line: line.partition(" ")[0], "expected 'name==version --hash=sha256:...'"),
        (lambda line: line.replace("==1.0", ">=1.0"), "expected 'name==version --hash=sha256:...'"),
        (lambda line: line.replace("plain", "other"), "No such file"),
    ],
)
def test_what_is_not_as_pinned_is_refused_and_nothing_changes(tmp_path: Path, spoil: object, words: str) -> None:
    wheel, line = make_wheel(tmp_path / "wheels")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "before").write_text("")
    (tmp_path / "some.txt").write_text(f"{spoil(line)}\n")  # type: ignore[operator]
    done = run("--wheels", wheel.parent, tmp_path / "some.txt", tmp_path / "out")
    assert done.returncode == 1
    assert words in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["before"]


@pytest.mark.parametrize("name", ["../outside.py", "/etc/outside", "plain/_core.so", "a/../../outside"])
def test_a_wheel_that_is_not_pure_or_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    wheel, line = make_wheel(tmp_path / "wheels", files={"plain/__init__.py": "", name: "x"})
    (tmp_path / "some.txt").write_text(f"{line}\n")
    done = run("--wheels", wheel.parent, tmp_path / "some.txt", tmp_path / "out")
    assert done.returncode == 1 and "does not belong into a pure wheel" in done.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "outside.py").exists()


def test_a_wheel_without_a_licence_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "plain-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("plain/__init__.py", "")
        archive.writestr("plain-1.0.dist-info/METADATA", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "some.txt").write_text(f"plain==1.0 --hash=sha256:{digest}\n")
    done = run("--wheels", folder, tmp_path / "some.txt", tmp_path / "out")
    assert done.returncode == 1 and "holds no licence" in done.stderr


@pytest.mark.parametrize("words", [(), ("--bytecode", "x", "list", "folder"), ("list",)])
def test_wrong_usage_is_explained(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2 and "give LIST and FOLDER, or --bytecode ROOT" in done.stderr


@given(st.text(max_size=200))
def test_any_line_is_a_pin_or_a_problem(text: str) -> None:
    folder = Path(f"/tmp/bundle-list-{os.getpid()}")
    folder.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        pins = bundle_openwrt.read_list(folder)
    except ValueError:
        return
    finally:
        folder.unlink()
    assert all(len(pin.digest) == 64 and "/" not in pin.wheel for pin in pins)


def test_bytecode_takes_the_place_of_sources(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("usr/lib/x/one.py", "usr/lib/x/deep/__init__.py", "usr/lib/anyio/__init__.py", "usr/lib/anyio/two.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("def fail():\n    raise ValueError\n")
    (root / "usr/lib/x/data.yaml").write_text("a: 1")
    (root / "usr/lib/x/empty").mkdir()
    done = run("--bytecode", root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tag = sys.implementation.cache_tag
    made = sorted(str(path.relative_to(root / "usr/lib")) for path in root.rglob("*") if not path.is_dir())
    assert made == [
        "anyio/__init__.py", f"anyio/__pycache__/__init__.{tag}.pyc", "anyio/two.pyc",
        "x/data.yaml", "x/deep/__init__.pyc", "x/one.pyc",
    ]  # fmt: skip
    assert not (root / "usr/lib/x/empty").exists()
    script = f"import sys; sys.path.insert(0, {str(root / 'usr/lib/x')!r}); import one; one.fail()"
    failed = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False)
    assert 'File "/usr/lib/x/one.py", line 2, in fail' in failed.stderr


def test_a_source_that_does_not_compile_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def (:\n")
    done = run("--bytecode", tmp_path)
    assert done.returncode == 1 and "not everything compiles" in done.stderr
    assert (tmp_path / "bad.py").exists(), "the source is still there to be looked at"


def test_the_lazy_packages_stay_lazy(built: Buildroot) -> None:
    """anyio reads its own source: without it, importing it would load all of it (1.5 MB)."""
    folder = built.files("guardian") / "usr/lib/guardian/bundled"
    script = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import anyio, anyio.abc; print(*sys.modules); anyio.sleep"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not [name for name in done.stdout.split() if name.startswith("anyio._core")]


def test_messages_find_their_services_without_sources(built: Buildroot) -> None:
    """Apprise looks for its services by file names."""
    folder = built.files("guardian-notify") / "usr/lib/guardian/bundled"
    assert not list(folder.rglob("*.py"))
    import yaml

    script = """
import sys
sys.path[:0] = [{folder!r}, {yaml!r}]
import apprise
for address in ("ntfy://topic", "mailtos://u:p@example.com", "tgram://123456789:abcdefg_hijklmnop/1/", "matrixs://u:p@example.com/#r",
                "json://localhost/x", "pover://{u}@{t}"):
    assert apprise.Apprise.instantiate(address.format(u="u" * 30, t="t" * 30), suppress_exceptions=False), address
print(len(apprise.Apprise().details()["schemas"]))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", script.replace("{folder!r}", repr(str(folder))).replace(
            "{yaml!r}", repr(str(Path(yaml.__file__).parents[1])))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80
