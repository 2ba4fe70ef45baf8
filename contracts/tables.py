"""The typed tables of the state, and the one way they change.

The state is a flat space of entries, ``key bytes → value bytes``. A table gives a part of it types: its key is
``prefix byte ‖ encode(key)``, its value ``encode(row)``, both in the canonical encoding. Rows are named tuples
(immutable, and arrays on the wire); a key is a text or a tuple.

Theory of operation. The rows live in a dictionary. Every change goes through `Table.put`, which notes the row's former
value in the journal that all tables share. The journal serves three masters: an envelope that is refused is undone back
to its mark; after the block the conservation checks compare the touched rows with what they were; and only touched rows
are encoded, hashed and written. Indices that are derived from rows (who holds a series, which series an expiry has)
subscribe to their table with `Table.watch`, so that undoing and restoring keep them right without further care.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

from genesis.codec import encode

REPLAY_IDS_PREFIX: Final = b"\x80"
"""Entries with this prefix are stored but are no part of the Merkle tree; see `contracts.replay`."""


class MetaRow(NamedTuple):
    """The block after which this is the state."""

    height: int
    time_unix_ms: int


class MemberRow(NamedTuple):
    """A clearing member and the key that signs for it."""

    public_key: bytes


class AccountRow(NamedTuple):
    """A sub-account and its owner."""

    member: str


class AssetRow(NamedTuple):
    """An asset whose minor unit is ``10**-decimals``."""

    decimals: int


class IndexRow(NamedTuple):
    """A price index; see `contracts.operations.RegisterIndex`."""

    tick_decimals: int
    price_min_ticks: int
    price_max_ticks: int
    oracle_quorum: int


class SeriesRow(NamedTuple):
    """An option series; see `contracts.operations.ListSeries`.

    `underlying` names an index; `collateral_minor` is what one short lot must lock, fixed at listing; `settled` says
    that its expiry is over.
    """

    underlying: str
    strike_ticks: int
    expiry_unix_ms: int
    right: str
    settlement: str
    asset: str
    lot_minor: int
    premium_tick_minor: int
    collateral_minor: int
    settled: bool


class InterestRow(NamedTuple):
    """Open interest of one series: the sum of the long positions, and of the short ones."""

    lots: int


class BalanceRow(NamedTuple):
    """What one account holds of one asset. `locked_minor` is collateral; only ``@issued`` is ever negative."""

    free_minor: int
    locked_minor: int


class PositionRow(NamedTuple):
    """A position against the house: lots above zero are long, below zero short."""

    lots: int


class SampleRow(NamedTuple):
    """What the oracles reported for one instant: (oracle's place in genesis, price in ticks), by oracle."""

    reports: tuple[tuple[int, int], ...]


class ExpiredRow(NamedTuple):
    """An expiry that has passed and is not settled yet: the time of the first block at or after it."""

    seen_unix_ms: int


class SettlementRow(NamedTuple):
    """The one price of an expiry and where it came from; see `contracts.expiry`."""

    price_ticks: int
    coverage_ppm: int
    source: str
    decided_height: int


class SettledRow(NamedTuple):
    """What an account's position in a series was worth at expiry: received if above zero, paid if below."""

    lots: int
    amount_minor: int


class SlotRow(NamedTuple):
    """The running digest of the envelopes that expire within one slot of time."""

    digest: bytes


class QuarantineRow(NamedTuple):
    """A market that broke a conservation rule, since when, and which rule."""

    since_height: int
    reason: str


class ValidatorSetRow(NamedTuple):
    """A validator set, from the epoch that is its key to `last_epoch`; None while it is in force.

    `members` are ``(name, public_key, power, address, certificate)`` in order of their indices, with the meaning that
    `genesis.document.GenesisValidator` gives them.
    """

    last_epoch: int | None
    members: tuple[tuple[str, bytes, int, str, bytes], ...]


class ProposalRow(NamedTuple):
    """A proposed change of the validator set; see `contracts.governance`.

    `change` is the operation that proposed it, as it stands on the wire; `approvals` are validators by name, ascending.
    `place` is 0 while approvals are wanting, and from then on the change's place among the approved ones, from 1.
    """

    change: tuple[Any, ...]
    proposer: str
    opened_height: int
    approvals: tuple[str, ...]
    place: int


class BondRow(NamedTuple):
    """What an account has deposited behind a validator."""

    amount_minor: int


class UnbondingRow(NamedTuple):
    """What an account has withdrawn in one epoch and does not have back yet."""

    amount_minor: int


class OffenceRow(NamedTuple):
    """An offence that was punished: in which block, on which evidence."""

    height: int
    evidence_id: bytes


class JailRow(NamedTuple):
    """A validator that loses its power at the next edge, or has lost it: the epoch in which it was last found out."""

    since_epoch: int


class ProgramRow(NamedTuple):
    """A stored program in its canonical encoding (`contracts.vm.bytecode`), and what must be known without reading it.

    `gas` is what a run may need, `inputs` how many it declares.
    """

    encoded: bytes
    name: str
    gas: int
    inputs: int


class HolderRow(NamedTuple):
    """A member for whom a program is kept, whether or not a contract uses it; see `contracts.programs`."""

    since_height: int


class ContractRow(NamedTuple):
    """An open or closed instance of a program; see `contracts.instances`.

    `accounts`, `assets` and `feeds` stand for the program's parties, assets and feeds. `settled` holds, in ascending
    order of input, ``(input, value)``, with None for one that was absent. `payments` of the run over these are made.
    `overdue` holds, in ascending order of input, ``(input, unix_ms)``: the time of the first block that found its price
    missing at its window's end. It started in the block `started_height`; `closed_height` is 0 until it closes.
    """

    program_id: bytes
    accounts: tuple[str, ...]
    assets: tuple[str, ...]
    feeds: tuple[str, ...]
    parameters: tuple[int, ...]
    settled: tuple[tuple[int, int | None], ...]
    payments: int
    overdue: tuple[tuple[int, int], ...]
    started_height: int
    closed_height: int

    @property
    def is_open(self) -> bool:
        """Whether it runs."""
        return not self.closed_height


class FixingRow(NamedTuple):
    """The price of an index at an instant, on which contracts are being settled; see `contracts.fixings`."""

    price_ticks: int


K = TypeVar("K")
R = TypeVar("R", bound=tuple[Any, ...])

Journal = list[tuple["Table[Any, Any]", Any, Any]]
"""(table, key, the row before or None), oldest change first."""

Watcher = Callable[[K, R | None, R | None], None]
"""Told of every change: key, the row before, the row after; None is absence."""


class Table(Generic[K, R]):
    """One typed table.

    Args:
        prefix: The byte that begins every entry key of this table; part of the protocol.
        row: The row type.
        journal: Shared by all tables of a state.
    """

    __slots__ = ("_journal", "_keys", "_row", "_watchers", "prefix", "rows")

    def __init__(self, prefix: int, row: Callable[..., R], journal: Journal) -> None:
        self.prefix = bytes((prefix,))
        self.rows: dict[K, R] = {}
        self._row = row
        self._journal = journal
        self._keys: dict[K, bytes] = {}
        self._watchers: tuple[Watcher[K, R], ...] = ()

    def watch(self, watcher: Watcher[K, R]) -> None:
        """Tell `watcher` of every later change, including undone ones, after those that watch already."""
        self._watchers = (*self._watchers, watcher)

    def put(self, key: K, row: R | None) -> None:
        """Set the row of `key`; None removes it."""
        rows = self.rows
        before = rows.get(key)
        self._journal.append((self, key, before))
        if row is not None:
            rows[key] = row
        elif before is not None:
            del rows[key]
        for watcher in self._watchers:
            watcher(key, before, row)

    def undo(self, key: K, before: R | None) -> None:
        """Take a change back: the journal's business alone."""
        after = self.rows.get(key)
        if before is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = before
        for watcher in self._watchers:
            watcher(key, after, before)

    def load(self, key: K, fields: tuple[Any, ...]) -> None:
        """Take in one stored entry at start-up; watchers learn of it, the journal does not."""
        row = self._row(*fields)
        self.rows[key] = row
        for watcher in self._watchers:
            watcher(key, None, row)

    def entry_key(self, key: K) -> bytes:
        """The canonical bytes of `key`, remembered because the same few are touched again and again."""
        known = self._keys.get(key)
        if known is None:
            known = self._keys[key] = self.prefix + encode(key)
        return known

    def forget_key(self, key: K) -> None:
        """Drop what `entry_key` remembered; for rows that are gone."""
        self._keys.pop(key, None)

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row as its canonical (key, value) bytes."""
        for key, row in self.rows.items():
            yield self.prefix + encode(key), encode(row)
