"""The state: typed tables, what is derived from them, replay memory and Merkle tree, as one thing that blocks change.

Theory of operation. Everything lives in memory; the store on disk mirrors it entry by entry. A block changes rows
through the journal (`contracts.tables`), and `State.seal` ends it: touched rows are encoded once, the tree re-hashes
their paths, and the same bytes go out as the block's writes. `restore_state` reads such entries back and arrives at
the same root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple
from typing import Any, Final

from contracts.buckets import Buckets
from contracts.derived import Derived, ExpiryKey
from contracts.holdings import HolderKey, Holdings
from contracts.merkle import MerkleTree
from contracts.merkle_proof import BucketProof
from contracts.open_inputs import OpenInputs
from contracts.replay import SLOT_WALL_MS, ReplayMemory
from contracts.standing import BondKey, OffenceKey, Standing, UnbondingKey
from contracts.stored_programs import StoredPrograms
from contracts.tables import (
    REPLAY_IDS_PREFIX,
    AccountRow,
    AssetRow,
    BalanceRow,
    BondRow,
    ContractRow,
    ExpiredRow,
    FixingRow,
    HolderRow,
    IndexRow,
    InterestRow,
    JailRow,
    Journal,
    MemberRow,
    MetaRow,
    OffenceRow,
    PositionRow,
    ProgramRow,
    ProposalRow,
    QuarantineRow,
    SampleRow,
    SeriesRow,
    SettledRow,
    SettlementRow,
    SlotRow,
    Table,
    UnbondingRow,
    ValidatorSetRow,
)
from genesis.codec import Value, decode, encode
from genesis.document import GenesisDocument
from genesis.epochs import epoch_after_block
from genesis.errors import Rejected, invariant
from genesis.params import ChainParams
from genesis.validator_sets import VALIDATOR_SETS_PREFIX

Write = tuple[bytes, bytes | None]
"""An entry to set, or to remove where the value is None."""

Changes = dict[Table[Any, Any], dict[Any, Any]]
"""For each touched table, each touched key with its row before the block (None: it had none)."""

ENTRY_BYTES_MAX: Final = 2**26
_META_KEY: Final = ""


class State:
    """The state after one block. `contracts.machine.apply_block` is what moves it to the next.

    Attributes:
        limits: The chain's parameters as they bind on its clock.
        roles_of: The roles that a key holds from genesis.
        oracles: Each oracle's key and its place among the oracles of the genesis document.
        balances: By (account, asset); a balance of nothing has no row.
        positions: By (account, series); a flat position has no row.
        samples: By (index, instant_unix_ms).
        settlements: By (index, expiry_unix_ms).
        settled: By (series, account).
        quarantine: By (``asset``, asset, 0) or (``expiry``, index, expiry_unix_ms).
        expired: By (index, expiry_unix_ms); only while series of that expiry are unsettled.
        validator_sets: By the first epoch in which the set is in force.
        proposals: By id (`contracts.governance`).
        bonds: By (validator, account, asset).
        unbonding: By (release_epoch, validator, account, asset).
        offences: By (epoch, validator, kind, view).
        jail: By validator.
        programs: By id.
        contracts: By the instance's name.
        program_holders: By (program, member).
        fixings: By (index, instant_unix_ms).
        stored_programs, open_inputs, holdings, buckets: What follows from these four.
        standing: What follows from the six tables of validators, bonds and offences.
        chain_id: What evidence is verified for.
    """

    def __init__(self, document: GenesisDocument) -> None:
        self.document = document
        self.limits: ChainParams = document.limits
        self.roles_of: dict[bytes, frozenset[str]] = {r.public_key: frozenset(r.roles) for r in document.roles}
        keys = [role.public_key for role in document.roles if "oracle" in role.roles]
        self.oracles: dict[bytes, int] = {key: place for place, key in enumerate(keys)}
        self._journal: Journal = []
        self._touched: Changes = {}
        self._folded = 0
        journal = self._journal
        self.meta: Table[str, MetaRow] = Table(1, MetaRow, journal)
        self.members: Table[str, MemberRow] = Table(2, MemberRow, journal)
        self.accounts: Table[str, AccountRow] = Table(3, AccountRow, journal)
        self.assets: Table[str, AssetRow] = Table(4, AssetRow, journal)
        self.indices: Table[str, IndexRow] = Table(5, IndexRow, journal)
        self.series: Table[str, SeriesRow] = Table(6, SeriesRow, journal)
        self.interest: Table[str, InterestRow] = Table(7, InterestRow, journal)
        self.balances: Table[tuple[str, str], BalanceRow] = Table(8, BalanceRow, journal)
        self.positions: Table[tuple[str, str], PositionRow] = Table(9, PositionRow, journal)
        self.samples: Table[tuple[str, int], SampleRow] = Table(10, SampleRow, journal)
        self.settlements: Table[ExpiryKey, SettlementRow] = Table(11, SettlementRow, journal)
        self.settled: Table[tuple[str, str], SettledRow] = Table(12, SettledRow, journal)
        self.replay_slots: Table[int, SlotRow] = Table(13, SlotRow, journal)
        self.quarantine: Table[tuple[str, str, int], QuarantineRow] = Table(14, QuarantineRow, journal)
        self.expired: Table[ExpiryKey, ExpiredRow] = Table(15, ExpiredRow, journal)
        self.validator_sets: Table[int, ValidatorSetRow] = Table(VALIDATOR_SETS_PREFIX, ValidatorSetRow, journal)
        self.proposals: Table[bytes, ProposalRow] = Table(17, ProposalRow, journal)
        self.bonds: Table[BondKey, BondRow] = Table(18, BondRow, journal)
        self.unbonding: Table[UnbondingKey, UnbondingRow] = Table(19, UnbondingRow, journal)
        self.offences: Table[OffenceKey, OffenceRow] = Table(20, OffenceRow, journal)
        self.jail: Table[str, JailRow] = Table(21, JailRow, journal)
        self.programs: Table[bytes, ProgramRow] = Table(22, ProgramRow, journal)
        self.contracts: Table[str, ContractRow] = Table(23, ContractRow, journal)
        self.program_holders: Table[HolderKey, HolderRow] = Table(24, HolderRow, journal)
        self.fixings: Table[tuple[str, int], FixingRow] = Table(25, FixingRow, journal)
        self.chain_id = document.chain_id
        self.standing = Standing()
        self.derived = Derived()
        self.stored_programs = StoredPrograms(self.programs, self.limits.contract_gas_max)
        self.open_inputs = OpenInputs(
            self.stored_programs, self.limits.settlement_delay_ms, self.limits.settlement_sample_validity_ms
        )
        self.holdings = Holdings(self.programs)
        self.buckets = Buckets(self.programs, self.contracts, self.balances, self.limits.merkle_depth)
        self.replay = ReplayMemory(
            self.replay_slots, SLOT_WALL_MS * document.clock.speed, self.limits.envelope_lifetime_ms_max
        )
        self._tree = MerkleTree(self.limits.merkle_depth)
        self._watch()

    def _watch(self) -> None:
        derived = self.derived
        self.members.watch(derived.on_member)
        self.accounts.watch(derived.on_account)
        self.series.watch(derived.on_series)
        self.positions.watch(derived.on_position)
        self.samples.watch(derived.on_sample)
        self.samples.watch(self.open_inputs.on_sample)
        self.settled.watch(derived.on_settled)
        self.standing.watch(self.validator_sets, self.bonds, self.unbonding, self.offences)
        self.contracts.watch(self.open_inputs.on_contract)
        self.contracts.watch(self.holdings.on_contract)
        self.contracts.watch(self.buckets.on_contract)
        self.program_holders.watch(self.holdings.on_holder)
        self.programs.watch(self.buckets.on_program)

    @property
    def tables(self) -> tuple[Table[Any, Any], ...]:
        """Every table, in the order of their prefixes."""
        return (
            self.meta,
            self.members,
            self.accounts,
            self.assets,
            self.indices,
            self.series,
            self.interest,
            self.balances,
            self.positions,
            self.samples,
            self.settlements,
            self.settled,
            self.replay_slots,
            self.quarantine,
            self.expired,
            self.validator_sets,
            self.proposals,
            self.bonds,
            self.unbonding,
            self.offences,
            self.jail,
            self.programs,
            self.contracts,
            self.program_holders,
            self.fixings,
        )

    @property
    def root(self) -> bytes:
        """The Merkle root after the last block, 32 bytes."""
        return self._tree.root

    @property
    def height(self) -> int:
        """The height of the last block applied; 0 at genesis."""
        return self.meta.rows[_META_KEY].height

    @property
    def epoch(self) -> int:
        """The epoch that decides the next block; while a block executes, its own."""
        return epoch_after_block(self.height, self.limits.epoch_blocks)

    @property
    def time_unix_ms(self) -> int:
        """The last block's time; the chain clock's origin at genesis."""
        return self.meta.rows[_META_KEY].time_unix_ms

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Every stored entry: what all the blocks' writes together leave behind."""
        yield from self._tree_entries()
        yield from self.replay.entries()

    def _tree_entries(self) -> Iterator[tuple[bytes, bytes]]:
        for table in self.tables:
            yield from table.entries()

    def prove(self, key: bytes) -> BucketProof:
        """A proof of what the root says of an entry key; see `contracts.merkle_proof`."""
        return self._tree.prove(key)

    def mark(self) -> int:
        """The present point of the journal."""
        return len(self._journal)

    def undo_to(self, mark: int) -> None:
        """Take back every change since `mark`, newest first."""
        journal = self._journal
        invariant(mark >= self._folded, "Changes that were already counted cannot be undone.", mark=mark)
        while len(journal) > mark:
            table, key, before = journal.pop()
            table.undo(key, before)

    def changes(self) -> Changes:
        """What the block has touched so far, with the rows as they were before it."""
        journal, touched = self._journal, self._touched
        for place in range(self._folded, len(journal)):
            table, key, before = journal[place]
            keys = touched.get(table)
            if keys is None:
                touched[table] = {key: before}
            elif key not in keys:
                keys[key] = before
        self._folded = len(journal)
        return touched

    def advance(self, height: int, time_unix_ms: int) -> None:
        """Set the block after which this is the state."""
        self.meta.put(_META_KEY, MetaRow(height, time_unix_ms))

    def seal(self) -> list[Write]:
        """End the block: bring the tree up to date; returns the entries that changed."""
        writes: list[Write] = []
        for table, keys in self.changes().items():
            rows = table.rows
            for key, before in keys.items():
                row = rows.get(key)
                if row is not None:
                    if row != before:
                        writes.append((table.entry_key(key), encode(row)))
                elif before is not None:
                    writes.append((table.entry_key(key), None))
                    table.forget_key(key)
        self._forget_changes()
        self._tree.update(writes)
        return writes

    def _forget_changes(self) -> None:
        self._journal.clear()
        self._touched = {}
        self._folded = 0

    def rebuild(self) -> None:
        """Build the tree from every row, after loading."""
        self._forget_changes()
        self._tree = MerkleTree(self.limits.merkle_depth)
        self._tree.update(self._tree_entries())


def genesis_state(document: GenesisDocument) -> State:
    """The state before the first block: height 0, the chain clock's origin, the genesis document's validators."""
    state = State(document)
    state.validator_sets.put(0, ValidatorSetRow(None, tuple(astuple(each) for each in document.validators)))
    state.advance(0, document.clock.chain_origin_unix_ms)
    state.seal()
    return state


def restore_state(document: GenesisDocument, entries: Iterable[tuple[bytes, bytes]]) -> State:
    """The state whose blocks wrote `entries`, in any order; the caller compares `State.root` with the stored root.

    No entries at all give the state of genesis.

    Raises:
        Rejected: ``bad_state`` when an entry is of no known table or cannot be decoded, or there are no validators.
    """
    state = State(document)
    tables = {table.prefix: table for table in state.tables}
    of_programs: list[tuple[bytes, bytes]] = []
    for key, value in entries:
        if key[:1] == REPLAY_IDS_PREFIX:
            state.replay.load(key, value)
        elif key[:1] in (state.contracts.prefix, state.program_holders.prefix):
            of_programs.append((key, value))
        elif key[:1] in tables:
            _load(tables[key[:1]], key, value)
        else:
            raise Rejected("bad_state", "A stored entry belongs to no table.", key=key.hex())
    _load_of_programs(state, of_programs)
    if not state.meta.rows:
        if any(table.rows for table in state.tables):
            raise Rejected("bad_state", "The stored state has no meta entry.")
        return genesis_state(document)
    if not state.validator_sets.rows:
        raise Rejected("bad_state", "The stored state has no validators.", height=state.height)
    state.rebuild()
    return state


def _load_of_programs(state: State, entries: Iterable[tuple[bytes, bytes]]) -> None:
    """Contracts and holders, after everything else: what follows from them depends on their programs, too.

    Program by program, so that each is read once, however many there are.
    """
    places = {program_id: place for place, program_id in enumerate(state.programs.rows)}
    ordered: list[tuple[int, bytes, Table[Any, Any], Any, tuple[Any, ...]]] = []
    for key, value in entries:
        name, fields = _decoded(key, value)
        is_contract = key[:1] == state.contracts.prefix
        try:
            place = places[fields[0] if is_contract else name[0]]
        except (TypeError, LookupError) as error:
            raise Rejected("bad_state", "A stored entry is of no stored program.", key=key.hex()) from error
        ordered.append((place, key, state.contracts if is_contract else state.program_holders, name, fields))
    ordered.sort(key=lambda each: each[0])
    for _place, key, table, name, fields in ordered:
        try:
            table.load(name, fields)
        except (TypeError, ValueError, LookupError, AttributeError, Rejected) as error:
            raise Rejected("bad_state", "A stored entry does not go with its program.", key=key.hex()) from error


def _load(table: Table[Any, Any], key: bytes, value: bytes) -> None:
    name, fields = _decoded(key, value)
    try:
        table.load(name, fields)
    except TypeError as error:
        raise Rejected("bad_state", "A stored entry cannot be decoded.", key=key.hex()) from error


def _decoded(key: bytes, value: bytes) -> tuple[Any, Any]:
    try:
        name = decode(key[1:], _anything, size_max=ENTRY_BYTES_MAX)
        return name, decode(value, _anything, size_max=ENTRY_BYTES_MAX)
    except Rejected as error:
        raise Rejected("bad_state", "A stored entry cannot be decoded.", key=key.hex()) from error


def _anything(value: Value) -> None:
    """Our own store, checked against the root afterwards, needs no shapes."""
