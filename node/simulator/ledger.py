"""What committed blocks do to a simulated replica's state: the real state machine, or one that only hashes.

Both execute what an envelope or a batch orders at most once, survive a crash through what was written with the block,
and name what they executed, so that the checkers can count. This one is the one that only hashes;
`node.simulator.market_ledger` is the real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from consensus.types import Header, genesis_header
from contracts.changes import Members
from genesis.document import ChainClock, GenesisDocument, GenesisRole
from genesis.evidence import Evidence
from genesis.hashing import Domain, digest
from node.simulator.cast import Cast
from node.simulator.disk import Disk
from node.simulator.market import role_keys
from node.simulator.schedule import Schedule
from node.simulator.settings import Settings
from node.simulator.signatures import Signatures

CHAIN_ORIGIN_UNIX_MS: Final = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Applied:
    """What one block came to.

    Attributes:
        state_root: The root after it.
        executed: The ids of what it executed.
        writes: What changed, for the disk.
        alarms: Rules about money that broke.
        jailed: The operators that are jailed after it.
    """

    state_root: bytes
    executed: tuple[bytes, ...]
    writes: tuple[tuple[bytes, bytes | None], ...]
    alarms: tuple[str, ...]
    jailed: tuple[int, ...] = ()


class Machine(Protocol):
    """One process's state."""

    def apply(self, header: Header, wires: Sequence[bytes]) -> Applied:
        """Execute the next block, whose batches are `wires`."""

    def members(self, epoch: int) -> Members:
        """The validators of an epoch that has begun in this state, in order of index."""


class Ledger(Protocol):
    """What all replicas of a run share: the genesis, the load, and the way to a machine."""

    document: GenesisDocument
    genesis: Header

    def machine(self, disk: Disk) -> Machine:
        """The machine of a process that starts on this disk."""

    def next_batch(self, author: int, chain_unix_ms: int) -> tuple[bytes, bytes]:
        """Digest and bytes of something new to order."""

    def accuse(self, evidence: Evidence) -> None:
        """An honest replica has found evidence, and hands it in."""


def make_ledger(settings: Settings, chance: Random, schedule: Schedule, signatures: Signatures, cast: Cast) -> Ledger:
    """The ledger that the settings ask for."""
    document = _document(settings, schedule)
    if not settings.real_state:
        return HashLedger(document, schedule)
    # Here and not above: the state machine's compiled kernels take longer to load than most runs take.
    from node.simulator.market_ledger import MarketLedger

    is_governed = schedule.operators > len(schedule.members(0))
    return MarketLedger(document, chance, (signatures, cast, schedule.operators) if is_governed else None)


def _document(settings: Settings, schedule: Schedule) -> GenesisDocument:
    roles = tuple(GenesisRole(name, key.public_key, (name.rstrip("0123456789"),)) for name, key in role_keys().items())
    clock = ChainClock(0, CHAIN_ORIGIN_UNIX_MS, 1)
    return GenesisDocument("simulated", schedule.members(0), roles, clock, settings.params, settings.engine)


class HashLedger:
    """Batches are opaque; the root is a hash over what was executed, in order."""

    def __init__(self, document: GenesisDocument, schedule: Schedule) -> None:
        self.document = document
        self._schedule = schedule
        self.genesis = genesis_header(document.chain_id, CHAIN_ORIGIN_UNIX_MS, bytes(32))
        self._made = 0

    def machine(self, disk: Disk) -> HashMachine:
        """Rebuilt from the committed blocks."""
        machine = HashMachine(self.genesis.anchor.state_root, self._schedule)
        for block in disk.committed:
            machine.restore(block.state_root, block.payload)
        return machine

    def next_batch(self, author: int, chain_unix_ms: int) -> tuple[bytes, bytes]:
        """A number under a digest."""
        self._made += 1
        wire = b"batch %d of %d" % (self._made, author)
        return digest(Domain.BATCH, wire), wire

    def accuse(self, evidence: Evidence) -> None:
        """Nobody judges it here."""


class HashMachine:
    """Counts and hashes."""

    def __init__(self, state_root: bytes, schedule: Schedule) -> None:
        self._root = state_root
        self._schedule = schedule
        self._executed: dict[bytes, None] = {}

    def members(self, epoch: int) -> Members:
        """As planned."""
        return self._schedule.members(epoch)

    def restore(self, state_root: bytes, payload: Sequence[bytes]) -> None:
        """Take in a block that was executed before."""
        self._root = state_root
        self._executed.update(dict.fromkeys(payload))

    def apply(self, header: Header, wires: Sequence[bytes]) -> Applied:
        """What was executed before is left out, as the state machine leaves out a replay."""
        new = tuple(each for each in header.payload if each not in self._executed)
        self._executed.update(dict.fromkeys(new))
        self._root = digest(Domain.BLOCK, self._root + b"".join(new))
        return Applied(self._root, new, (), ())
