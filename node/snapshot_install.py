"""A ledger made from a snapshot: built beside the place where the ledger belongs, and moved there when it is whole.

Rules:

1. Nothing of it is visible before `finish`: the node looks for ``data/ledger``, this is ``data/ledger.joining``. A
   crash before the end leaves no ledger, and the next start begins afresh.
2. What is written has been verified. Every write is synced, so that the renamed ledger has no holes.
3. The ledger has the state after block S, and of the blocks only what a start needs: the records and proposals of S and
   S - 1. It keeps blocks from S + 1 on (`Store.lowest`); it counts envelopes from there. The changes of the validator
   set since the trusted block are kept too: this node serves joiners and proofs as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from consensus.types import QC, Header
from consensus.wire import encode_proposal
from node.database import Database, open_database
from node.failures import DISK_ADVICE, StorageFailure
from node.files import make_private_directory, sync_directory
from node.set_history import encode_link
from node.snapshot_wire import Offer
from node.store import FORMAT_VERSION
from node.store_records import HEIGHT, CommittedBlock, Entries, put_record


class LedgerBuilder(Database):
    """Writes the ledger of one snapshot. All methods block.

    Args:
        ledger_path: ``data/ledger``, which must not exist or be empty.
    """

    def __init__(self, ledger_path: Path) -> None:
        building = ledger_path.with_name(ledger_path.name + ".joining")
        self._final = ledger_path
        try:
            make_private_directory(building.parent)
            shutil.rmtree(building, ignore_errors=True)
        except OSError as error:
            raise _failed(error) from error
        super().__init__(open_database(building), building)

    def put_state(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write verified entries of the state."""
        with self._guarded("write the state"):
            self._write([(b"s" + key, value) for key, value in entries], sync=True)

    def state_entry(self, key: bytes) -> bytes | None:
        """An entry of the state, as far as it has been written."""
        return self._get(b"s" + key)

    def finish(self, offer: Offer, chain_id: bytes, linked_since: int) -> None:
        """Every entry is here: write what a start needs besides, and put the ledger in its place.

        Args:
            offer: The snapshot's, verified.
            chain_id: The chain.
            linked_since: The epoch in which the offer's history begins.
        """
        before, at = offer.proposals[0], offer.proposals[1]
        certificates = offer.certificates
        entries: Entries = [(b"p" + each.header.block_hash, encode_proposal(each)) for each in (before, at)]
        put_record(entries, _record(before.header, certificates[0], offer.root_before))
        put_record(entries, _record(at.header, certificates[1], offer.state_root))
        entries.append((b"mlow", HEIGHT.pack(offer.height + 1)))
        entries += [(b"t" + HEIGHT.pack(each.header.epoch), encode_link(each)) for each in offer.history.links]
        entries.append((b"mlinks", HEIGHT.pack(linked_since)))
        entries.append((b"mchain", bytes([FORMAT_VERSION]) + chain_id))
        with self._guarded("write a ledger from a snapshot"):
            self._write(entries, sync=True)
        self.close()
        try:
            os.replace(self._path, self._final)
            sync_directory(self._final.parent)
        except OSError as error:
            raise _failed(error) from error

    def discard(self) -> None:
        """Give it up."""
        self.close()
        shutil.rmtree(self._path, ignore_errors=True)


def _record(header: Header, qc: QC, state_root: bytes) -> CommittedBlock:
    return CommittedBlock(header.height, header.block_hash, qc, state_root, header.time_unix_ms, 0, 0, 0)


def _failed(error: OSError) -> StorageFailure:
    reason = error.strerror or str(error)
    return StorageFailure("write a ledger from a snapshot", reason, DISK_ADVICE)
