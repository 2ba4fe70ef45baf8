"""Small private files on a disk that refuses."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from node.files import create_private, make_private_directory, write_private


def test_new_directories_are_private_and_durable_from_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 6: a synced file in a directory whose own name is not on the disk is lost with it."""
    synced: list[Path] = []
    monkeypatch.setattr("node.files.sync_directory", synced.append)
    deep = tmp_path / "signer" / "keys"
    make_private_directory(deep)
    assert synced == [tmp_path, tmp_path / "signer"]
    assert [stat.S_IMODE(each.stat().st_mode) for each in (deep, deep.parent)] == [0o700] * 2
    make_private_directory(deep)
    assert len(synced) == 2
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private_directory(tmp_path / "file")


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["os.pwrite", "os.fsync"])
@pytest.mark.parametrize("write", [write_private, create_private])
def test_file_that_does_not_fit_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], None], call: str
) -> None:
    """Row 8: each attempt is another process and another name, so what it leaves fills the disk a little more. What was
    there before stays."""
    path = tmp_path / "node.toml"
    if write is write_private:
        write_private(path, b"old")

    def refuse(*_: object) -> int:
        raise FULL

    before = [each.name for each in tmp_path.iterdir()]
    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        with pytest.raises(OSError, match="No space left"):
            write(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == before
    write(path, b"new")
    assert path.read_bytes() == b"new"
