"""Small private files: written whole or not at all, readable by their owner alone.

Rules:

1. `write_private` replaces a file atomically and durably: a temporary file with mode 0600, fsync, rename, fsync of the
   directory. A crash leaves the old file or the new one.
2. `create_private` never overwrites: of two writers, one is refused.
3. `remove_durably` returns when the file would not come back after a power failure.
4. `read_private` refuses a file that others may read, and one that is larger than it can be.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from genesis.errors import Rejected
from node.small_files import read_small


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, mode 0600."""
    temporary = _temporary(path)
    _write_new(temporary, data)
    os.replace(temporary, path)
    sync_directory(path.parent)


def create_private(path: Path, data: bytes) -> None:
    """Write `data` to a new file `path`, mode 0600.

    Raises:
        Rejected: ``file_exists``; the file is left as it was.
    """
    temporary = _temporary(path)
    _write_new(temporary, data)
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise Rejected("file_exists", "The file exists and is never overwritten.", path=str(path)) from error
    finally:
        temporary.unlink()
    sync_directory(path.parent)


def remove_durably(path: Path) -> None:
    """Remove a file; that there is none is made as durable."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def read_private(path: Path, size_max: int) -> bytes:
    """The bytes of a secret file.

    Raises:
        Rejected: ``exposed_file`` when its group or others have any permission; ``too_large``; as `read_small`.
        FileNotFoundError: There is none.
    """
    data = read_small(path, size_max, private=True)
    if len(data) > size_max:
        raise Rejected("too_large", "The file is over its size limit.", path=str(path), size_max=size_max)
    return data


def make_private_directory(path: Path) -> None:
    """Create `path` and its parents where missing, durably; a new directory has mode 0700.

    A file is only as durable as the directories above it: a signer's keys must not vanish with a new home whose name
    never reached the disk, after the validator's own were removed.
    """
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        sync_directory(each.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in this directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_all(file: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset` of an open file, however little the system takes at once."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _temporary(path: Path) -> Path:
    """The name under which a file is written, beside its own; an error of the system where it has none of its own."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def _write_new(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(file, data, 0)
        os.fsync(file)
    except OSError:  # A full disk: what was written so far would only fill it more, under a new name each time.
        path.unlink()
        raise
    finally:
        os.close(file)
