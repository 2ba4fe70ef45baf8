"""The safety file: fault catalogue rows 3 to 8."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import blake2b
from itertools import product
from pathlib import Path

import pytest

from consensus.events import SafetyState
from consensus.types import QC, TC, TimeoutSignature
from consensus.wire import encode_safety
from genesis.document import VALIDATORS_MAX
from genesis.errors import InvariantViolation, Rejected
from node.failures import StorageFailure
from node.safety_file import COPIES, FILE_BYTES, MAGIC, PAIRS, SLOT_BYTES, SafetyFile
from tests.node.dataplane import CHAIN_ID, safety_of

VIEW_MAX = 2**63 - 1


class PowerLoss(BaseException):
    """The machine stops here."""


class Disk:
    """What power loss leaves of a file. As on Linux, a failed sync forgets what was pending and the next succeeds."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.sync_fails = False
        self._path = path
        self._durable = bytearray(path.read_bytes())
        self._pending: list[tuple[int, bytes]] = []
        pwrite = os.pwrite

        def write(file: int, data: bytes, offset: int) -> int:
            self._pending.append((offset, bytes(data)))
            return pwrite(file, data, offset)

        patch.setattr(os, "pwrite", write)
        patch.setattr(os, "fdatasync", self._sync)

    def lose_power(self) -> None:
        """The page cache is gone."""
        self._path.write_bytes(self._durable)
        self._pending.clear()

    def _sync(self, _file: int) -> None:
        pending, self._pending = self._pending, []
        if self.sync_fails:
            raise OSError(errno.EIO, "Input/output error")
        for offset, data in pending:
            self._durable[offset : offset + len(data)] = data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the safety file is, or will be."""
    return tmp_path / "safety"


@pytest.fixture(params=[6, 7])
def saving(path: Path, request: pytest.FixtureRequest) -> int:
    """A view whose save is next in the file at `path`, once into either pair; the view before is saved."""
    view: int = request.param
    for each in range(5, view):
        save(path, safety_of(each), restart=each == 5)
    assert newest_pair(path) == (view + 1) % PAIRS
    return view


def save(path: Path, state: SafetyState, restart: bool = True) -> None:
    """One save; without `restart` as the next of a running process, so that it moves on by one record alone."""
    with closing(SafetyFile(path, CHAIN_ID)) as file:
        if restart:
            file.save(state)
        else:
            before = path.read_bytes()
            number = max(number_at(before, pair, copy) for pair in range(PAIRS) for copy in range(COPIES))
            write_copies(path, number + 1, state)


def load(path: Path) -> SafetyState | None:
    """What a process that starts now takes for its state."""
    with closing(SafetyFile(path, CHAIN_ID)) as file:
        return file.load()
