"""What the emulated router boots from: kernel, first file system, a system disk, and a disk with Guardian."""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from tests.vm.packages import MissingError, choose_cache, fetch_packages, fetch_wheel

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PYTHON = "3.11"  # of Debian's arm64 packages; the same on this machine, and bytecode is made here

# Named modules and all that they need. The first line is what it takes to reach the system disk.
FIRST_MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_console", "virtio_rng", "crc32c_generic", "ext4")
MODULES = (
    "rtc_pl031", "overlay", "veth", "bridge", "dummy", "tun", "nf_tables", "nft_ct", "nft_queue", "nfnetlink_queue",
    "nft_limit", "nft_reject_inet", "nft_redir", "nft_masq", "nft_nat", "nft_chain_nat", "nft_fib_inet", "nft_fib_ipv4",
    "nft_fib_ipv6", "nft_flow_offload", "nf_flow_table", "nf_flow_table_inet", "nf_conntrack_netlink", "nft_log",
    "nft_reject_ipv4", "nft_reject_ipv6", "nft_socket", "sch_fq_codel", "sch_netem", "sch_tbf", "sch_ingress",
    "nft_quota", "nft_objref", "nft_hash", "inet_diag", "tcp_diag",
)  # fmt: skip
BUSYBOX = (  # what busybox stands in for, where no package of its own has it
    "sh", "mount", "umount", "mkdir", "rmdir", "grep", "cat", "ls", "date", "sleep", "sed", "awk", "dmesg", "vi",
    "less", "head", "tail", "cp", "mv", "rm", "ln", "find", "wc", "sort", "uniq", "id", "hostname", "df", "du", "ping",
    "ping6", "nc", "wget", "chmod", "touch", "tee", "env", "tr", "cut", "setsid", "stat", "uname", "sync",
    "poweroff", "echo",
    "test", "expr", "kill", "ps", "free", "nslookup", "udhcpc", "true", "false", "readlink", "md5sum", "more", "clear",
)  # fmt: skip
PURE = ("starlette", "uvicorn", "h11", "anyio", "idna", "click", "typing_extensions")  # of this environment
COMPILED = "msgspec"
_BUILDER = 7  # another number makes all disks anew


class Base(NamedTuple):
    """What all runs share."""

    kernel: Path
    first: Path  # initramfs
    system: Path  # ext4, not written to
    has_console: bool  # what `guardian web` needs is on it
    why_no_console: str


def build_base() -> Base:
    """Return kernel and system disk, built when they are not in the cache. Raises MissingError."""
    for program in ("mke2fs", "depmod", "dpkg-deb", "tar"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            raise MissingError(f"{program} is not installed: scripts/setup vm")
    cache = choose_cache()
    packages, kernel_package = fetch_packages(cache)
    console: list[Path] = []
    why = ""
    try:
        console = list(_console_folders(cache))
    except (MissingError, metadata.PackageNotFoundError) as error:
        why = f"the console's packages are missing: {error}"
    told = "\n".join(
        [str(_BUILDER), *(p.name for p in (*packages, kernel_package, *console)), *FIRST_MODULES, *MODULES]
    )
    folder = cache / f"base-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    if not (folder / "system.ext4").exists():
        for old in cache.glob("base-*"):
            shutil.rmtree(old)
        work = cache / "building"
        shutil.rmtree(work, ignore_errors=True)
        _build(work, packages, kernel_package, console)
        work.rename(folder)
    return Base(folder / "kernel", folder / "first.cpio", folder / "system.ext4", bool(console), why)


def _console_folders(cache: Path) -> Iterator[Path]:
    for name in PURE:
        files = metadata.files(name) or []
        tops = {Path(str(file)).parts[0] for file in files if ".." not in str(file) and ".dist-info" not in str(file)}
        for top in sorted(tops - {"__pycache__"}):
            path = Path(str(metadata.distribution(name).locate_file(top)))
            if path.exists():
                yield path
    yield from (
        path
        for path in fetch_wheel(cache, COMPILED, metadata.version(COMPILED), PYTHON).iterdir()
        if ".dist-info" not in path.name
    )


def _build(work: Path, packages: list[Path], kernel_package: Path, console: list[Path]) -> None:
    system, kernel = work / "system", work / "kernel-tree"
    for folder in ("usr/bin", "usr/sbin", "usr/lib"):
        (system / folder).mkdir(parents=True)
    for link in ("bin", "sbin", "lib"):
        (system / link).symlink_to(f"usr/{link}")
    for package in packages:
        unpack(package, system)
    kernel.mkdir()
    unpack(kernel_package, kernel)
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    shutil.copy(image, work / "kernel")
    modules = _copy_modules(kernel, system, release)
    (work / "first.cpio").write_bytes(b"".join(write_cpio(_first_files(system, modules))))
    _finish_system(system, console)
    make_disk(system, work / "system.ext4", 64 << 20)
    shutil.rmtree(system)
    shutil.rmtree(kernel)


def unpack(package: Path, into: Path) -> None:
    """Unpack a Debian package over a tree where /bin, /sbin and /lib are links."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as reading:
        words = ["tar", "--extract", "--keep-directory-symlink", "--directory", str(into)]
        subprocess.run(words, stdin=reading.stdout, check=True, timeout=300)
    if reading.returncode != 0:
        raise MissingError(f"{package.name} cannot be unpacked")


def _copy_modules(kernel: Path, system: Path, release: str) -> list[Path]:
    """Copy the wanted modules and those that they need; return those of the first file system, in order of loading."""
    tree = kernel / "lib/modules" / release
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    depmod = shutil.which("depmod", path=path)
    assert depmod is not None
    subprocess.run([depmod, "-b", str(kernel), release], check=True, timeout=120)
    needs: dict[str, tuple[str, list[str]]] = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        name, _, others = line.partition(":")
        needs[_plain(name)] = (name, [_plain(other) for other in others.split()])
    builtin = {_plain(line) for line in (tree / "modules.builtin").read_text().splitlines()}
    wanted: dict[str, None] = {}
    for module in (*FIRST_MODULES, *MODULES):
        if module in needs:
            wanted |= dict.fromkeys([*reversed(needs[module][1]), module])
        elif module not in builtin and module in ("nft_queue", "nft_flow_offload", "nf_flow_table_inet", "ext4"):
            raise MissingError(f"Debian's arm64 kernel {release} has no module {module}")
    there = system / "usr/lib/modules" / release
    for module in wanted:
        source = tree / needs[module][0]
        (there / needs[module][0]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, there / needs[module][0])
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        if (tree / name).exists():
            shutil.copy(tree / name, there / name)
    subprocess.run([depmod, "-b", str(system), release], check=True, timeout=120)
    first: dict[str, None] = {}
    for module in FIRST_MODULES:
        if module in needs:
            first |= dict.fromkeys([*reversed(needs[module][1]), module])
    return [tree / needs[module][0] for module in first]


def _plain(path: str) -> str:
    return Path(path.strip()).name.removesuffix(".ko").replace("-", "_")


def _first_files(system: Path, modules: list[Path]) -> Iterator[tuple[str, int, bytes]]:
    for folder in ("dev", "proc", "sys", "root", "modules", "bin"):
        yield folder, stat.S_IFDIR | 0o755, b""
    (busybox,) = (
        path
        for path in (system / "usr/bin/busybox", system / "bin/busybox")
        if path.is_file() and path == path.resolve()
    )
    yield "bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()
    for module in modules:
        yield f"modules/{module.name}", stat.S_IFREG | 0o644, module.read_bytes()
    yield "modules/order", stat.S_IFREG | 0o644, "".join(f"{module.name}\n" for module in modules).encode()
    yield "init", stat.S_IFREG | 0o755, (HERE / "guest/first.sh").read_bytes()


def write_cpio(files: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """Yield an archive in the form "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).

    `files` are names without a leading slash, modes with the type's bits, and contents; folders before what is in them.
    """
    for number, (name, mode, content) in enumerate((*files, ("TRAILER!!!", 0, b"")), 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        yield head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def _finish_system(system: Path, console: list[Path]) -> None:
    """What maintainer scripts would do, and no more."""
    for folder in ("dev", "proc", "sys", "run", "tmp", "root", "srv", "etc", "var", "opt/site"):
        (system / folder).mkdir(parents=True, exist_ok=True)
    for link, target in (("var/run", "../run"), ("var/tmp", "../tmp"), ("etc/mtab", "/proc/self/mounts")):
        shutil.rmtree(system / link, ignore_errors=True)
        (system / link).unlink(missing_ok=True)
        (system / link).symlink_to(target)
    (system / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (system / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (system / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (system / "etc/resolv.conf").write_text("")
    for name in BUSYBOX:
        if not any((system / folder / name).exists() for folder in ("usr/bin", "usr/sbin")):
            (system / "usr/bin" / name).symlink_to("/usr/bin/busybox")
    if not (system / "usr/bin/python3").exists():
        (system / "usr/bin/python3").symlink_to(f"python{PYTHON}")
    for part in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/bug", "usr/share/lintian"):
        shutil.rmtree(system / part, ignore_errors=True)
    for path in console:
        if path.is_dir():
            shutil.copytree(path, system / "opt/site" / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, system / "opt/site")
    for folder in (f"usr/lib/python{PYTHON}", "usr/lib/python3", "opt/site"):
        compile_tree(system / folder, f"/{folder}")
    shutil.copy(HERE / "guest/second.sh", system / "usr/sbin/guest")
    (system / "usr/sbin/guest").chmod(0o755)


def compile_tree(folder: Path, shown: str) -> None:
    """Make the bytecode of a tree, as its Python will look for it: nothing is compiled under emulation.

    Without a Python of the guest's version here, the guest compiles by itself, which takes it minutes.
    """
    if f"{sys.version_info.major}.{sys.version_info.minor}" != PYTHON or not folder.exists():
        return
    compileall.compile_dir(
        folder, quiet=2, ddir=shown, workers=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


def make_disk(tree: Path, file: Path, room: int) -> None:
    """Make an ext4 disk of a folder's files, all root's, with so many bytes to spare."""
    size = sum(-(-max(path.lstat().st_size, 1) // 4096) * 4096 + 512 for path in tree.rglob("*"))
    blocks = (size + size // 10 + room) // 4096 + 4096
    words = [
        "-q",
        "-t",
        "ext4",
        "-E",
        "root_owner=0:0",
        "-O",
        "^has_journal",
        "-d",
        str(tree),
        "-F",
        str(file),
        str(blocks),
    ]
    mke2fs = shutil.which("mke2fs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert mke2fs is not None
    done = subprocess.run([mke2fs, "-b", "4096", *words], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise MissingError(f"mke2fs fails: {done.stderr.strip()[-300:]}")


def build_work(folder: Path, files: dict[str, Path | bytes]) -> Path:
    """Return a disk for one run: Guardian as it is in this checkout, the guest's programs, and more files."""
    tree = folder / "work"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "guardian", tree / "code/guardian", ignore=ignore)
    shutil.copytree(ROOT / "blocklists", tree / "code/guardian/blocklists", ignore=ignore)
    shutil.copytree(HERE / "guest", tree / "code/tests/vm/guest", ignore=ignore)
    compile_tree(tree / "code", "/srv/code")
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copy(content, path)
    disk = folder / "work.ext4"
    make_disk(tree, disk, 96 << 20)
    shutil.rmtree(tree)
    return disk
