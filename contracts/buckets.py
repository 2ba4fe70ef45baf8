"""How much of contracts lies in one bucket of the state's tree: bounded, so that every bucket can be shown to others.

Who starts a contract chooses its name, and with it the bucket of its entries. A few members that put all their
contracts into one could make it larger than any proof, piece of a snapshot or link holds: nobody could join any more,
nor follow the validators beyond an edge, if it is the bucket of their set.

Rules:

1. A contract counts with what its row may come to in the bucket of its name, and with `POT_BYTES` in that of each
   balance that its pot may have, as long as it is in the state. A program counts with its bytes in its bucket.
2. No start brings the contracts of a bucket, and no storing its programs, above `BYTES_PER_BUCKET_MAX`. Another name,
   of the contract or the program, is another bucket; an honest one meets a full bucket by chance alone.

Like `contracts.holdings`, which counts by member, it follows its tables as a watcher, and needs the programs first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from contracts.holdings import counted_bytes, pot_account
from contracts.merkle_proof import bucket_of
from contracts.tables import BalanceRow, ContractRow, ProgramRow, Table
from genesis.codec import encode
from genesis.errors import Rejected

BYTES_PER_BUCKET_MAX: Final = 2**18
"""Of contracts, and again of programs. A link holds two buckets, with these and all others' entries, in 2 MiB."""

POT_BYTES: Final = 128
SETTLED_BYTES: Final = 13
"""One input, settled or overdue: its number and a value or a time, in an array."""
ROW_BYTES: Final = 96
"""Of a row beyond what its start fixes, and of its key."""


class Buckets:
    """The bytes of contracts and of programs by bucket.

    Args:
        programs, contracts, balances: The tables.
        depth: The tree's.
    """

    __slots__ = ("_balances", "_contracts", "_depth", "_of_contracts", "_of_programs", "_programs")

    def __init__(
        self,
        programs: Table[bytes, ProgramRow],
        contracts: Table[str, ContractRow],
        balances: Table[tuple[str, str], BalanceRow],
        depth: int,
    ) -> None:
        self._programs, self._contracts, self._balances = programs, contracts, balances
        self._depth = depth
        self._of_contracts: Counter[int] = Counter()
        self._of_programs: Counter[int] = Counter()

    def on_contract(self, contract: str, before: ContractRow | None, after: ContractRow | None) -> None:
        """Watch the contracts; what one counts for never changes."""
        row = after or before
        if row is not None and (before is None or after is None):
            for bucket, size in self.places(contract, row):
                _add(self._of_contracts, bucket, size if after is not None else -size)

    def on_program(self, program_id: bytes, before: ProgramRow | None, after: ProgramRow | None) -> None:
        """Watch the programs; a stored one never changes."""
        row = after or before
        if row is not None and (before is None or after is None):
            size = counted_bytes(row.encoded)
            _add(self._of_programs, self._program_bucket(program_id), size if after is not None else -size)

    def require_room_for_contract(self, contract: str, row: ContractRow) -> None:
        """Refuse a contract that a bucket has no room for (rule 2, ``limit_reached``)."""
        added: Counter[int] = Counter()
        for bucket, size in self.places(contract, row):
            added[bucket] += size
        for bucket, size in sorted(added.items()):
            _require(self._of_contracts, bucket, size, "contract")

    def require_room_for_program(self, program_id: bytes, encoded: bytes) -> None:
        """Refuse a program that its bucket has no room for (rule 2, ``limit_reached``)."""
        _require(self._of_programs, self._program_bucket(program_id), counted_bytes(encoded), "program")

    def places(self, contract: str, row: ContractRow) -> Iterator[tuple[int, int]]:
        """Rule 1: (bucket, bytes) of a contract's row and of each balance of its pot."""
        begun = row._replace(settled=(), payments=0, overdue=(), closed_height=0)
        inputs = self._programs.rows[row.program_id].inputs
        yield self._bucket(self._contracts.prefix, contract), len(encode(begun)) + ROW_BYTES + SETTLED_BYTES * inputs
        for asset in sorted(set(row.assets)):
            yield self._bucket(self._balances.prefix, (pot_account(contract), asset)), POT_BYTES

    def _program_bucket(self, program_id: bytes) -> int:
        return self._bucket(self._programs.prefix, program_id)

    def _bucket(self, prefix: bytes, key: object) -> int:
        return bucket_of(prefix + encode(key), self._depth)


def _add(counts: Counter[int], bucket: int, change: int) -> None:
    """A bucket with nothing has no entry."""
    counts[bucket] += change
    if not counts[bucket]:
        del counts[bucket]


def _require(counts: Counter[int], bucket: int, adds: int, what: str) -> None:
    if counts[bucket] + adds > BYTES_PER_BUCKET_MAX:
        raise Rejected(
            "limit_reached",
            f"The place of the state in which a {what} of this name lies is full; choose another name.",
            bucket=bucket,
            bytes_there=counts[bucket],
            adds=adds,
            bytes_max=BYTES_PER_BUCKET_MAX,
        )
