"""The ledger on a real LevelDB: docs/FAULTS.md rows 7, 8 and 35."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import plyvel
import pytest

from consensus.types import Proposal
from genesis.errors import InvariantViolation, Rejected
from node.failures import StorageFailure
from node.store import Store
from tests.node.dataplane import (
    CHAIN_ID,
    GENESIS_BLOCK,
    certificate,
    chain_of,
    committed,
    header_of,
    open_store,
    receipt_of,
    write_of,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where the ledger lies."""
    return tmp_path / "ledger"


@pytest.fixture
def store(ledger: Path) -> Iterator[Store]:
    """A store with block 0."""
    store = open_store(ledger)
    yield store
    store.close()


def test_everything_a_block_leaves_is_there_after_a_restart(store: Store, ledger: Path) -> None:
    """A committed block, its receipts, its batches and its state are one fact."""
    [proposal] = chain_of(1)
    receipts = [receipt_of(1, 1, 0), receipt_of(2, 1, 1, "insufficient_funds"), receipt_of(3, 1, 4)]
    write = write_of(
        proposal, receipts=receipts, batches=[(b"d" * 32, b"wire")], state_writes=[(b"k1", b"v"), (b"", b"e")]
    )
    store.commit([write])
    store.close()
    again = open_store(ledger)
    assert again.tip() == again.committed(1) == committed(proposal)
    assert again.proposal(proposal.header.block_hash) == proposal
    assert again.block_receipts(1) == tuple(receipts)
    assert again.receipts([each.envelope_id for each in receipts]) == {each.envelope_id: each for each in receipts}
    assert again.batch(b"d" * 32) == b"wire"
    assert list(again.state_entries()) == [(b"", b"e"), (b"k1", b"v")]
    again.close()


def test_absent_things_are_none(store: Store) -> None:
    """A peer or client may ask for anything."""
    assert store.committed(5) is None
    assert store.proposal(b"x" * 32) is None
    assert store.batch(b"x" * 32) is None
    assert store.receipts([b"x" * 32]) == {}
    assert not store.has_receipt(b"x" * 32)
    assert store.block_receipts(9) == ()
    assert not store.has_batch(b"x" * 32)


def test_receipt_of_another_envelope_with_the_same_key_prefix_is_not_found(store: Store) -> None:
    """The index holds half of an id; an answer must be about the whole one."""
    [proposal] = chain_of(1)
    receipt = receipt_of(0, 1, 0)
    store.commit([write_of(proposal, receipts=[receipt])])
    assert store.receipts([receipt.envelope_id, bytes(31) + b"\x01"]) == {receipt.envelope_id: receipt}


def test_state_entries_can_be_removed(store: Store) -> None:
    """A flat position must not come back after a restart."""
    first, second = chain_of(2)
    store.commit([write_of(first, state_writes=[(b"a", b"1"), (b"b", b"2")])])
    store.commit([write_of(second, state_writes=[(b"a", None), (b"b", b"3")])])
    assert list(store.state_entries()) == [(b"b", b"3")]


def test_blocks_that_wait_together_share_one_write(store: Store) -> None:
    """A node that catches up pays one sync for many blocks, with the result of committing them singly."""
    proposals = chain_of(5)
    store.commit([write_of(each, state_writes=[(b"h", bytes([each.header.height]))]) for each in proposals])
    assert [store.committed(height) for height in range(1, 6)] == [committed(each) for each in proposals]
    assert list(store.state_entries()) == [(b"h", b"\x05")]


@pytest.mark.parametrize("heights", [[2], [1, 3], [1, 1]])
def test_committing_out_of_order_is_our_own_bug(store: Store, heights: list[int]) -> None:
    """A gap or a repetition would make the tip lie."""
    proposals = chain_of(3)
    with pytest.raises(InvariantViolation):
        store.commit([write_of(proposals[height - 1]) for height in heights])
    assert store.tip() == GENESIS_BLOCK


def test_uncommitted_chain_is_found_again_and_ends_with_its_commit(store: Store, ledger: Path) -> None:
    """The core restarts from what it voted for; forks of decided heights would only take up space."""
    first, second, third = chain_of(3)
    fork = Proposal(7, header_of(1, None, view=7), first.justify, None, b"\x06" * 64)
    store.sync_proposal(first, [])
    store.put_proposal(fork)
    store.put_proposal(second)
    store.put_proposal(second)
    store.sync_proposal(third, [])
    assert sorted(store.pending(), key=lambda each: each.header.view) == [first, second, third, fork]
    store.commit([write_of(first)])
    store.close()
    again = open_store(ledger)
    assert again.pending() == (second, third)
    assert again.proposal(fork.header.block_hash) is None
    again.put_proposal(fork)
    assert again.pending() == (second, third)
    again.close()


def test_voted_batches_are_written_with_their_block(store: Store, ledger: Path) -> None:
    """A vote promises that the batches can be had from us, even after a crash."""
    [proposal] = chain_of(1, payloads=[[b"d" * 32]])
    store.sync_proposal(proposal, [(b"d" * 32, b"one"), (b"e" * 32, b"two")])
    store.close()
    again = open_store(ledger)
    assert (again.batch(b"d" * 32), again.batch(b"e" * 32)) == (b"one", b"two")
    again.sync_proposal(chain_of(2)[1], [(b"f" * 32, b"three")])
    assert [again.batch(each * 32) for each in (b"d", b"e", b"f")] == [b"one", b"two", b"three"]
    again.close()


def test_ledger_of_another_chain_is_refused(ledger: Path) -> None:
    """Mixing two chains' blocks would be found out only later, by a wrong root."""
    open_store(ledger).close()
    with pytest.raises(Rejected, match="wrong_chain"):
        Store.open(ledger, b"\x42" * 32)


def test_ledger_in_use_is_refused(store: Store, ledger: Path) -> None:
    """Two processes on one ledger would be two validators with one key."""
    with pytest.raises(StorageFailure, match="Another process uses this ledger"):
        Store.open(ledger, CHAIN_ID)


def test_a_disk_that_refuses_is_no_process_that_holds_the_ledger(tmp_path: Path) -> None:
    """A read-only disk was, since its refusal names a file LOCK; and so was any refusal below a directory "blocks"."""
    path = tmp_path / "blocks" / "ledger"
    path.parent.mkdir()
    path.write_text("in the way")
    with pytest.raises(StorageFailure, match="whether it may be written"):
        Store.open(path, CHAIN_ID)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("IO error: lock /d/ledger/LOCK: Resource temporarily unavailable", "Another process uses this ledger"),
        ("IO error: lock /d/ledger/LOCK: already held by process", "Another process uses this ledger"),
        ("IO error: /d/ledger/LOCK: Read-only file system", "whether it may be written"),
        ("IO error: /d/ledger/LOCK: Permission denied", "whether it may be written"),
    ],
)
def test_what_leveldb_says_while_it_opens_decides_the_advice(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, said: str, advice: str
) -> None:
    """The words are LevelDB's, as a read-only mount and a second process brought them about."""

    def refuse(*_: object, **__: object) -> None:
        raise plyvel.IOError(f"b'{said}'")

    monkeypatch.setattr(plyvel, "DB", refuse)
    with pytest.raises(StorageFailure, match=advice):
        Store.open(ledger, CHAIN_ID)


def fill(ledger: Path, blocks: int = 40) -> None:
    """A ledger with some blocks, receipts and state."""
    store = open_store(ledger)
    for proposal in chain_of(blocks):
        height = proposal.header.height
        receipts = [receipt_of(height * 100 + position, height, position) for position in range(20)]
        store.commit([write_of(proposal, receipts=receipts, state_writes=[(b"k%d" % height, bytes(2_000))])])
    store.close()


def read_all(ledger: Path) -> int:
    """Read whatever is in the ledger; returns the height of the tip."""
    store = Store.open(ledger, CHAIN_ID)
    try:
        tip = store.tip()
        height = tip.height if tip is not None else 0
        for each in range(1, height + 1):
            store.block_receipts(each)
            block = store.committed(each)
            assert block is not None
            store.proposal(block.block_hash)
        assert len(list(store.state_entries())) == height
        return height
    finally:
        store.close()


def data_files(ledger: Path) -> list[Path]:
    """The log and table files, largest first."""
    return sorted(
        (each for each in ledger.iterdir() if each.suffix in {".log", ".ldb"} and each.stat().st_size > 0),
        key=lambda each: -each.stat().st_size,
    )


def test_flipped_byte_in_the_log_is_refused_with_advice(ledger: Path) -> None:
    """With LevelDB's defaults the node would start without the damaged block and everything after it."""
    fill(ledger)
    log = data_files(ledger)[0]
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0x40
    log.write_bytes(content)
    with pytest.raises(StorageFailure, match=r"damaged.*move the directory data/ledger"):
        read_all(ledger)


def test_flipped_byte_in_a_table_is_refused_with_advice(ledger: Path) -> None:
    """Data at rest decays too: every read checks its checksum."""
    fill(ledger)
    db = plyvel.DB(str(ledger))
    db.compact_range()
    db.close()
    table = data_files(ledger)[0]
    assert table.suffix == ".ldb"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 0x40
    table.write_bytes(content)
    with pytest.raises(StorageFailure, match=r"damaged.*move the directory data/ledger"):
        read_all(ledger)


def test_missing_file_is_refused(ledger: Path) -> None:
    """A ledger with a hole is not a shorter ledger."""
    fill(ledger)
    db = plyvel.DB(str(ledger))
    db.compact_range()
    db.close()
    data_files(ledger)[0].unlink()
    with pytest.raises(StorageFailure, match="move the directory data/ledger"):
        read_all(ledger)


@pytest.mark.parametrize("cut_bytes", [1, 7, 100, 5_000])
def test_torn_tail_gives_back_a_whole_earlier_block(ledger: Path, cut_bytes: int) -> None:
    """A crash in the middle of an unacknowledged write loses that write alone, and never half of a block."""
    fill(ledger)
    log = data_files(ledger)[0]
    os.truncate(log, log.stat().st_size - cut_bytes)
    assert 30 <= read_all(ledger) < 40


def test_killed_process_keeps_what_commit_returned_for(ledger: Path) -> None:
    """kill -9 loses no receipt that a client was given."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tests.node.dataplane import open_store, chain_of, write_of\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "for each in chain_of(25):\n"
        "    store.commit([write_of(each, state_writes=[(b'k%d' % each.header.height, b'v')])])\n"
        "    print(each.header.height, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", script, str(ledger)], cwd=root, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -9, ended.stderr
    assert ended.stdout.split()[-1] == "25"
    assert read_all(ledger) == 25


def test_failed_write_closes_the_ledger_for_good(store: Store, ledger: Path) -> None:
    """After a failed write LevelDB may report success for writes that are gone: nothing may follow it."""
    first, second = chain_of(2)
    real = store._db

    class FullDisk:
        def write_batch(self, **_: object) -> object:
            raise plyvel.IOError(b"/ledger/000003.log: No space left on device")

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    store._db = FullDisk()
    with pytest.raises(StorageFailure, match=r"cannot write a block: .*No space left.*free space"):
        store.commit([write_of(first)])
    store._db = real
    for use in (
        lambda: store.commit([write_of(first)]),
        lambda: store.put_proposal(second),
        lambda: store.committed(0),
    ):
        with pytest.raises(StorageFailure, match="earlier failure"):
            use()


@pytest.mark.parametrize(
    ("said", "advised"),
    [
        (plyvel.IOError(b"IO error: 000003.log: No space left on device"), "free space"),
        (plyvel.CorruptionError(b"Corruption: checksum mismatch"), "data/ledger"),
        (plyvel.IOError(b"IO error: MANIFEST-000002: No such file or directory"), "data/ledger"),
        (plyvel.IOError(b"IO error: lock LOCK: already held by process"), "Another process"),
        (PermissionError("Permission denied"), "free space"),
    ],
)
def test_refusal_to_open_is_called_damage_only_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Exception, advised: str
) -> None:
    """Row 8: an operator with a full disk must not be told to throw a healthy ledger away."""

    def refuse(*_: object, **__: object) -> None:
        raise said

    monkeypatch.setattr("node.database.plyvel.DB", refuse)
    with pytest.raises(StorageFailure) as caught:
        Store.open(tmp_path / "ledger", bytes(32))
    assert advised in caught.value.advice
    assert ("damaged" in caught.value.reason) == (advised == "data/ledger")


def test_full_disk_stops_the_ledger_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """The real thing, on a small file system of its own."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        store = open_store(small / "ledger")
        acknowledged = 0

        def fill_up() -> None:
            nonlocal acknowledged
            for proposal in chain_of(200):
                store.commit([write_of(proposal, batches=[(proposal.header.block_hash, os.urandom(100_000))])])
                acknowledged = proposal.header.height

        with pytest.raises(StorageFailure, match="cannot write a block"):
            fill_up()
        store.close()
        assert 10 < acknowledged < 60
        shutil.copytree(small / "ledger", tmp_path / "rescued")
        again = Store.open(tmp_path / "rescued", CHAIN_ID)
        tip = again.tip()
        assert tip is not None
        assert tip.height >= acknowledged
        again.close()
    finally:
        subprocess.run([umount, "-l", str(small)], check=True)


def test_certificate_of_a_committed_block_is_kept(store: Store) -> None:
    """A peer that syncs from us needs it to believe us."""
    [proposal] = chain_of(1)
    store.commit([write_of(proposal)])
    block = store.committed(1)
    assert block is not None
    assert block.qc == certificate(proposal.header)
