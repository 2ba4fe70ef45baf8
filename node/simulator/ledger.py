"""What committed blocks do to a simulated replica's state: the real state machine, or one that only hashes.

Both execute what an envelope or a batch orders at most once, survive a crash through what was written with the block,
and name what they executed, so that the checkers can count. The real one runs `contracts.machine.apply_block` over
batches in their real encoding, and audits the whole state after every block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from consensus.types import Header, genesis_header
from contracts.conservation import audit
from contracts.machine import BlockInput, State, apply_block, genesis_state, restore_state
from genesis.document import ChainClock, GenesisDocument, GenesisRole, GenesisValidator
from genesis.envelope import Envelope, decode_envelope
from genesis.hashing import Domain, digest
from node.batches import Batch, BatchFormat
from node.simulator.disk import Disk
from node.simulator.market import Market, role_keys
from node.simulator.settings import Settings

CHAIN_ORIGIN_UNIX_MS: Final = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Applied:
    """What one block came to.

    Attributes:
        state_root: The root after it.
        executed: The ids of what it executed.
        writes: What changed, for the disk.
        alarms: Rules about money that broke.
    """

    state_root: bytes
    executed: tuple[bytes, ...]
    writes: tuple[tuple[bytes, bytes | None], ...]
    alarms: tuple[str, ...]


class Machine(Protocol):
    """One process's state."""

    def apply(self, header: Header, wires: Sequence[bytes]) -> Applied:
        """Execute the next block, whose batches are `wires`."""


class Ledger(Protocol):
    """What all replicas of a run share: the genesis, the load, and the way to a machine."""

    document: GenesisDocument
    genesis: Header

    def machine(self, disk: Disk) -> Machine:
        """The machine of a process that starts on this disk."""

    def next_batch(self, author: int, chain_unix_ms: int) -> tuple[bytes, bytes]:
        """Digest and bytes of something new to order."""


def make_ledger(settings: Settings, chance: Random, public_keys: Sequence[bytes]) -> Ledger:
    """The ledger that the settings ask for."""
    document = _document(settings, public_keys)
    return MarketLedger(document, chance) if settings.real_state else HashLedger(document)


def _document(settings: Settings, public_keys: Sequence[bytes]) -> GenesisDocument:
    validators = tuple(
        GenesisValidator(f"v{index}", public_keys[index], power, f"127.0.0.1:{index + 1}", b"certificate %d" % index)
        for index, power in enumerate(settings.powers)
    )
    roles = tuple(GenesisRole(name, key.public_key, (name.rstrip("0123456789"),)) for name, key in role_keys().items())
    clock = ChainClock(0, CHAIN_ORIGIN_UNIX_MS, 1)
    return GenesisDocument("simulated", validators, roles, clock, settings.params, settings.engine)


# --- the light one ----------------------------------------------------------------------------------------------------


class HashLedger:
    """Batches are opaque; the root is a hash over what was executed, in order."""

    def __init__(self, document: GenesisDocument) -> None:
        self.document = document
        self.genesis = genesis_header(document.chain_id, CHAIN_ORIGIN_UNIX_MS, bytes(32))
        self._made = 0

    def machine(self, disk: Disk) -> HashMachine:
        """Rebuilt from the committed blocks."""
        machine = HashMachine(self.genesis.anchor.state_root)
        for block in disk.committed:
            machine.restore(block.state_root, block.payload)
        return machine

    def next_batch(self, author: int, chain_unix_ms: int) -> tuple[bytes, bytes]:
        """A number under a digest."""
        self._made += 1
        wire = b"batch %d of %d" % (self._made, author)
        return digest(Domain.BATCH, wire), wire


class HashMachine:
    """Counts and hashes."""

    def __init__(self, state_root: bytes) -> None:
        self._root = state_root
        self._executed: dict[bytes, None] = {}

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


# --- the real one -----------------------------------------------------------------------------------------------------


class MarketLedger:
    """`contracts` under a small market. A batch is opened once for all replicas: its bytes are the same for each."""

    def __init__(self, document: GenesisDocument, chance: Random) -> None:
        self.document = document
        state = genesis_state(document)
        self.genesis = genesis_header(document.chain_id, state.time_unix_ms, state.root)
        self._format = BatchFormat(document.chain_id, document.limits, len(document.validators))
        self._market = Market(document.chain_id, chance, CHAIN_ORIGIN_UNIX_MS)
        self._opened: dict[bytes, Batch] = {}
        self._audited: dict[bytes, tuple[str, ...]] = {}
        self._made = 0

    def machine(self, disk: Disk) -> MarketMachine:
        """Rebuilt from the disk's entries."""
        if disk.entries:
            return MarketMachine(self, restore_state(self.document, disk.entries.items()))
        return MarketMachine(self, genesis_state(self.document))

    def next_batch(self, author: int, chain_unix_ms: int) -> tuple[bytes, bytes]:
        """A few envelopes of the market."""
        self._made += 1
        wires = self._market.next_envelopes(chain_unix_ms)
        limits = self.document.limits
        envelopes = [Envelope(decode_envelope(each, self.document.chain_id, limits)) for each in wires]
        batch = self._format.seal(author, self._made, envelopes)
        return batch.digest, batch.wire

    def open(self, name: bytes, wire: bytes) -> Batch:
        """The batch of these bytes; raises `Rejected`."""
        if name not in self._opened:
            self._opened[name] = self._format.open(wire, name, None)
        return self._opened[name]

    def alarms_of(self, state: State) -> tuple[str, ...]:
        """What an audit of the whole state finds; equal roots are one state."""
        if state.root not in self._audited:
            self._audited[state.root] = tuple(str(each) for each in audit(state))
        return self._audited[state.root]


class MarketMachine:
    """One process's `State`."""

    def __init__(self, ledger: MarketLedger, state: State) -> None:
        self._ledger = ledger
        self._state = state
        self._is_new = state.height == 0

    def apply(self, header: Header, wires: Sequence[bytes]) -> Applied:
        """`apply_block`, and an audit."""
        batches = [self._ledger.open(name, wire) for name, wire in zip(header.payload, wires, strict=True)]
        envelopes = [envelope for batch in batches for envelope in batch.envelopes]
        first = list(self._state.entries()) if self._is_new else []
        self._is_new = False
        output = apply_block(self._state, BlockInput(header.height, header.time_unix_ms, envelopes))
        executed = tuple(receipt.envelope_id for receipt in output.receipts)
        alarms = (*(str(each) for each in output.alarms), *self._ledger.alarms_of(self._state))
        return Applied(output.root, executed, (*first, *output.writes), alarms)
