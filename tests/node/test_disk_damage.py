"""Damage in every region of every file of a real ledger and of a safety file: docs/FAULTS.md rows 7 and 8.

The oracle is one for all: a validator either refuses to start, with advice, or it has exactly what it acknowledged. The
log's end is the one exception, since a torn write and a lost one look alike there: then it has a whole earlier block,
fetches the rest from the others, and its safety file keeps it from signing anything twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import plyvel
import pytest

from genesis.errors import Rejected
from node.failures import StorageFailure
from node.safety_file import SafetyFile
from node.store import Store
from tests.node.dataplane import CHAIN_ID, chain_of, open_store, receipt_of, safety_of, write_of

BLOCKS = 60
REGIONS = 48
"""Places in each file that are damaged, one at a time, from its first byte to its last."""

T = TypeVar("T")
Contents = dict[int, object]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with tables and a log: most blocks compacted, the last ones not."""
    path = tmp_path_factory.mktemp("healthy") / "ledger"
    chain = chain_of(BLOCKS)

    def commit(store: Store, low: int, high: int) -> None:
        for proposal in chain[low:high]:
            height = proposal.header.height
            receipts = [receipt_of(height * 100 + each, height, each) for each in range(5)]
            batches = [(bytes([height]) * 32, bytes([height]) * 500)]
            entry = (b"k%d" % height, bytes([height]) * 300)
            store.commit([write_of(proposal, receipts=receipts, batches=batches, state_writes=[entry])])

    store = open_store(path)
    commit(store, 0, BLOCKS - 10)
    store.close()
    db = plyvel.DB(str(path))
    db.compact_range()
    db.close()
    store = Store.open(path, CHAIN_ID)
    commit(store, BLOCKS - 10, BLOCKS)
    store.close()
    return path


def contents(ledger: Path) -> Contents:
    """Everything that a ledger says, by height; the state under the height of its tip.

    Raises:
        StorageFailure, Rejected: It refuses.
    """
    with closing(Store.open(ledger, CHAIN_ID)) as store:
        tip = store.tip()
        top = tip.height if tip is not None else -1
        found: Contents = {}
        for height in range(top + 1):
            block = store.committed(height)
            assert block is not None
            proposal = store.proposal(block.block_hash)
            batch = store.batch(bytes([height]) * 32)
            found[height] = (block, proposal, batch, store.block_receipts(height))
        entries = dict(store.state_entries())
        assert entries == {b"k%d" % height: bytes([height]) * 300 for height in range(1, top + 1)}
        return found


def kind_of(path: Path) -> str:
    """Which of LevelDB's files this is."""
    return {".ldb": "table", ".log": "log"}.get(path.suffix, path.name.partition("-")[0])


Damage = Callable[[bytes], Iterator[bytes]]


def flips(data: bytes) -> Iterator[bytes]:
    """One bit changed, in every region."""
    for number in range(REGIONS):
        place = number * (len(data) - 1) // (REGIONS - 1)
        yield data[:place] + bytes([data[place] ^ (1 << number % 8)]) + data[place + 1 :]


def cuts(data: bytes) -> Iterator[bytes]:
    """The file cut short, in every region."""
    for number in range(REGIONS):
        yield data[: number * (len(data) - 1) // (REGIONS - 1)]


def zeros(data: bytes) -> Iterator[bytes]:
    """A stretch that reads as zeros, as a disk leaves what it never wrote."""
    length = max(1, len(data) // 8)
    for number in range(8):
        yield (
            data[: number * length]
            + bytes(len(data[number * length : (number + 1) * length]))
            + data[(number + 1) * length :]
        )


@pytest.mark.parametrize("damage", [flips, cuts, zeros])
@pytest.mark.parametrize("kind", ["table", "log", "MANIFEST", "CURRENT"])
def test_damaged_file_is_refused_or_harmless(healthy: Path, tmp_path: Path, kind: str, damage: Damage) -> None:
    """No damage may pass for the truth: neither other bytes nor a shorter chain, but for the log's torn end."""
    whole = contents_of_copy(healthy, tmp_path / "whole")
    assert len(whole) == BLOCKS + 1
    outcomes: dict[str, int] = {}
    for path in [each for each in healthy.iterdir() if kind_of(each) == kind]:
        for number, data in enumerate(damage(path.read_bytes())):
            ledger = tmp_path / f"{path.name}-{number}"
            shutil.copytree(healthy, ledger)
            (ledger / path.name).write_bytes(data)
            outcome = judge(ledger, whole, kind)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            shutil.rmtree(ledger)
    print(kind, damage.__name__, outcomes)
    assert outcomes.get("refused", 0) > 0 or kind == "log"


def contents_of_copy(ledger: Path, copy: Path) -> Contents:
    """What a copy of the ledger says: reading may change files."""
    shutil.copytree(ledger, copy)
    return contents(copy)


def judge(ledger: Path, whole: Contents, kind: str) -> str:
    """What a damaged ledger is taken for."""
    found, refusal = attempt(lambda: contents(ledger))
    if found is None:
        assert "move the directory data/ledger" in refusal or refusal in ("wrong_store_format", "wrong_chain")
        return "refused"
    assert found == {height: whole[height] for height in range(len(found))}
    if len(found) == len(whole):
        return "harmless"
    assert kind == "log", f"{len(whole) - len(found)} acknowledged blocks are gone unnoticed"
    return "earlier block"


def attempt(read: Callable[[], T]) -> tuple[T | None, str]:
    """What was read, or None and the advice or the code of the refusal."""
    try:
        return read(), ""
    except StorageFailure as failure:
        return None, str(failure)
    except Rejected as rejected:
        return None, rejected.code


@pytest.mark.parametrize("kind", ["table", "MANIFEST", "CURRENT"])
def test_missing_file_of_the_ledger_is_refused(healthy: Path, tmp_path: Path, kind: str) -> None:
    """A ledger without its index of files looks like a new one to LevelDB, which would begin it again, empty."""
    for path in [each for each in healthy.iterdir() if kind_of(each) == kind]:
        ledger = tmp_path / path.name
        shutil.copytree(healthy, ledger)
        (ledger / path.name).unlink()
        tables = sorted(ledger.glob("*.ldb"))
        with pytest.raises(StorageFailure) as caught:
            contents(ledger)
        assert "data/ledger" in caught.value.advice
        assert sorted(ledger.glob("*.ldb")) == tables, "what is left must stay for whoever looks into it"


@pytest.mark.parametrize("damage", [flips, cuts, zeros])
def test_damaged_safety_file_is_refused_or_newest(tmp_path: Path, damage: Damage) -> None:
    """Whatever is damaged, an older state is never taken for the newest: that could sign twice."""
    path = tmp_path / "safety"
    with closing(SafetyFile(path, CHAIN_ID)) as file:
        for view in (5, 6, 7):
            file.save(safety_of(view))
    refused = 0
    for data in damage(path.read_bytes()):
        copy = tmp_path / "copy"
        copy.write_bytes(data)
        with closing(SafetyFile(copy, CHAIN_ID)) as file:
            state, refusal = attempt(file.load)
        assert state == safety_of(7) or refusal == "corrupt_safety_file"
        refused += state is None
    assert refused > 0 or damage is not cuts
