"""The real state machine under a simulated replica: `contracts.machine.apply_block` over really encoded batches.

The whole state is audited after every block. A batch is opened, and its signatures are verified, once for all replicas
together: its bytes are the same for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from consensus.types import Header, genesis_header
from contracts.changes import Members
from contracts.conservation import audit
from contracts.edge import validator_set_of
from contracts.machine import BlockInput, State, apply_block, genesis_state, restore_state
from genesis.document import GenesisDocument
from genesis.envelope import Envelope, decode_envelope
from genesis.evidence import Evidence
from node.batches import Batch, BatchFormat
from node.simulator.cast import Cast
from node.simulator.disk import Disk
from node.simulator.governance import Governance
from node.simulator.ledger import CHAIN_ORIGIN_UNIX_MS, Applied
from node.simulator.market import Market
from node.simulator.settings import VALIDATORS_MAX
from node.simulator.signatures import Signatures


class MarketLedger:
    """`contracts` under a small market. A batch is opened once for all replicas: its bytes are the same for each."""

    def __init__(
        self, document: GenesisDocument, chance: Random, governed: tuple[Signatures, Cast, int] | None = None
    ) -> None:
        """`governed` is who may change the set of validators: all keys, who is charged, how many operators there are;
        None where it stays."""
        self.document = document
        state = genesis_state(document)
        self.genesis = genesis_header(document.chain_id, state.time_unix_ms, state.root)
        self._format = BatchFormat(document.chain_id, document.limits, VALIDATORS_MAX)
        self._market = Market(document.chain_id, chance, CHAIN_ORIGIN_UNIX_MS)
        self._governance = Governance(chance, *governed, self._market.member()) if governed is not None else None
        self._newest = state
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
        is_market_up = self._market.is_set_up
        wires = self._market.next_envelopes(chain_unix_ms)
        asked = self._governance.next_operation(self._newest) if self._governance is not None and is_market_up else None
        if asked is not None:
            wires.append(self._market.sign(*asked, chain_unix_ms))
        limits = self.document.limits
        envelopes = [Envelope(decode_envelope(each, self.document.chain_id, limits)) for each in wires]
        batch = self._format.seal(author, self._made, envelopes)
        return batch.digest, batch.wire

    def accuse(self, evidence: Evidence) -> None:
        """Whoever finds evidence hands it in."""
        if self._governance is not None:
            self._governance.accuse(evidence)

    def came_to(self, state: State) -> None:
        """A replica's state is this now."""
        if state.height > self._newest.height:
            self._newest = state

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

    def members(self, epoch: int) -> Members:
        """As the state says."""
        return validator_set_of(self._state, epoch)

    def apply(self, header: Header, wires: Sequence[bytes]) -> Applied:
        """`apply_block`, and an audit."""
        batches = [self._ledger.open(name, wire) for name, wire in zip(header.payload, wires, strict=True)]
        envelopes = [envelope for batch in batches for envelope in batch.envelopes]
        first = list(self._state.entries()) if self._is_new else []
        self._is_new = False
        output = apply_block(self._state, BlockInput(header.height, header.time_unix_ms, envelopes))
        executed = tuple(receipt.envelope_id for receipt in output.receipts)
        alarms = (*(str(each) for each in output.alarms), *self._ledger.alarms_of(self._state))
        self._ledger.came_to(self._state)
        jailed = tuple(int(name.removeprefix("v")) for name in sorted(self._state.jail.rows))
        return Applied(output.root, executed, (*first, *output.writes), alarms, jailed)
