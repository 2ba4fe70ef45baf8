"""An AArch64 Python to compute in, on a machine that is none: real packages and wheels, under QEMU's user mode.

    python -m benchmarks.aarch64 "PIP install"        fills .venv/aarch64; `make determinism` does it once

1. The distribution's apt fetches the interpreter and its C library for AArch64, and the emulator for this machine, and
   checks their signatures. It gets a state of its own here, so nothing is installed and nobody needs to be root.
2. pip fetches the wheels for AArch64 of what a price needs, in the versions and with the digests of requirements.lock.
3. ``qemu-aarch64 -L system system/usr/bin/python3`` is then an AArch64 process whose Numba compiles for AArch64.

Where there is no apt, or its archive has no arm64, the reason is printed and the exit code is 1.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = Path(sys.prefix) / "aarch64"
SYSTEM: Final = HOME / "system"
EMULATOR: Final = HOME / "emulator"
WHEELS: Final = HOME / "wheels"
PACKAGES: Final = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
NEEDED: Final = ("llvmlite", "msgpack", "numba", "numpy")
GLIBC_MINORS: Final = range(17, 37)
"""The wheels may ask for any of these; Debian 12 has the last of them."""
APT: Final = """
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; "{host}"; }};
APT::Sandbox::User "root";
Dir::State "{home}/apt";
Dir::State::status "{home}/apt/status";
Dir::Cache "{home}/apt";
"""
"""A machine of AArch64 on which there is no package yet; where packages come from is left to this machine's setting."""


def interpreter() -> tuple[list[str], Mapping[str, str]] | None:
    """The command and the environment in which Python runs as AArch64; nothing where it has not been installed."""
    emulators = sorted(EMULATOR.glob("usr/bin/qemu-aarch64*"))
    if not (emulators and WHEELS.is_dir()):
        return None
    command = [str(emulators[0]), "-L", str(SYSTEM), str(SYSTEM / "usr/bin/python3")]
    return command, {"PYTHONPATH": str(WHEELS), "PYTHONDONTWRITEBYTECODE": "1"}


def fetch_packages() -> list[Path]:
    """Fetch the packages and whatever they depend on."""
    host = _output("dpkg", "--print-architecture")
    apt = HOME / "apt"
    (apt / "lists" / "partial").mkdir(parents=True)
    (apt / "archives" / "partial").mkdir(parents=True)
    (apt / "status").touch()
    settings = apt / "apt.conf"
    settings.write_text(APT.format(host=host, home=HOME))
    environment = {"APT_CONFIG": str(settings), "DEBIAN_FRONTEND": "noninteractive"}
    _output("apt-get", "update", "--error-on=any", **environment)
    wanted = (*PACKAGES, f"qemu-user-static:{host}")
    _output("apt-get", "install", "--yes", "--no-install-recommends", "--download-only", *wanted, **environment)
    return sorted((apt / "archives").glob("*.deb"))


def unpack(package: Path) -> None:
    """Unpack a package's files; none of its scripts runs. Of the emulators for all processors, AArch64's is kept."""
    system = package.name.endswith(("_arm64.deb", "_all.deb"))
    # Some packages have /lib, others /usr/lib: the link that makes them one must outlive those that have a folder.
    tar = ["tar", "--extract", "--keep-directory-symlink", "--directory", SYSTEM if system else EMULATOR]
    kept = [] if system else ["--exclude=*/qemu-[!a]*", "--exclude=*/qemu-a[!a]*"]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as files:
        subprocess.run([*tar, *kept], stdin=files.stdout, check=True)
    if files.returncode:
        raise subprocess.CalledProcessError(files.returncode, files.args)


def lock_of(names: tuple[str, ...]) -> str:
    """The entries of these packages in requirements.lock, with their digests."""
    entries = re.split(r"^(?=\w)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    return "".join(entry for entry in entries if entry.partition("==")[0] in names)


def fetch_wheels(pip: list[str]) -> None:
    """Fetch the wheels for the interpreter that the distribution has; they are unpacked, nothing of them runs."""
    lock = HOME / "wheels.lock"
    lock.write_text(lock_of(NEEDED))
    version = next((SYSTEM / "usr/bin").glob("python3.*")).name.removeprefix("python")
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in reversed(GLIBC_MINORS)]
    kind = ["--implementation=cp", f"--python-version={version}", "--only-binary=:all:", *platforms]
    partial = HOME / "partial"
    _output(*pip, "--require-hashes", "--no-deps", *kind, f"--target={partial}", f"--requirement={lock}")
    partial.rename(WHEELS)


def _output(*command: str, **environment: str) -> str:
    """What a command prints, less its last line's end; its error says what it printed last."""
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise OSError(f"{command[0]}: {said[-1]}")
    return done.stdout.strip()


def install(pip: list[str]) -> None:
    """Make everything anew, in the order in which `interpreter` needs it: the wheels come last."""
    shutil.rmtree(HOME, ignore_errors=True)
    for folder in (EMULATOR, SYSTEM / "usr" / "lib"):
        folder.mkdir(parents=True)
    (SYSTEM / "lib").symlink_to("usr/lib")
    for package in fetch_packages():
        unpack(package)
    fetch_wheels(pip)
    shutil.rmtree(HOME / "apt")


if __name__ == "__main__":
    try:
        install(shlex.split(sys.argv[1]))
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"AArch64 cannot be emulated here: {error}")
