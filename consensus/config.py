"""What a core is started with: its place in the chain, and what it finds of its own past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consensus.events import Executed, SafetyState
from consensus.leaders import Rotation
from consensus.types import OBSERVER, QC, Header, Proposal, ReplicaIndex
from consensus.validators import ValidatorSet
from genesis.epochs import edge_height
from genesis.params import ChainParams

SignatureRule = Callable[[bytes, bytes, bytes], bool]
"""(public key, message, signature) -> whether it is valid."""


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """The fixed circumstances of one replica.

    Attributes:
        chain_id: The digest of the genesis document; every signature covers it.
        index: Which validator this replica is; `OBSERVER` if it is none, or must not sign in this epoch.
        validators: The epoch's validator set.
        params: The chain's limits as they bind (`GenesisDocument.limits`).
        base: The block that the epoch stands on: block 0 (`consensus.types.genesis_header`), or the edge of the epoch
            before.
        is_valid: The signature rule; None for that of `genesis.signing`. A simulator remembers its answers.
        leaders: A script of who leads; None for the rotation that passes over who fails (`consensus.turns`).
        base_root: The state root after `base`; None for block 0, whose header holds it.
    """

    chain_id: bytes
    index: ReplicaIndex
    validators: ValidatorSet
    params: ChainParams
    base: Header
    is_valid: SignatureRule | None = None
    leaders: Rotation | None = None
    base_root: bytes | None = None

    @property
    def epoch(self) -> int:
        """The epoch that this core decides."""
        return self.validators.epoch

    @property
    def edge_height(self) -> int:
        """The last height that the epoch decides."""
        return edge_height(self.epoch, self.params.epoch_blocks)

    @property
    def observes(self) -> bool:
        """Whether this replica signs nothing in this epoch, whatever happens."""
        return self.index == OBSERVER

    @property
    def others(self) -> tuple[ReplicaIndex, ...]:
        """Every other validator."""
        return self.validators.others(self.index)


@dataclass(frozen=True, slots=True)
class Tip:
    """The last committed block that has been executed and is durable, with the QC that certified it."""

    proposal: Proposal
    qc: QC


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the stores hold when the process starts. All of it was verified before it was stored.

    Attributes:
        safety: The safety state, of this epoch; None when its file is *missing* (see `consensus.amnesia`), and for who
            observes. A fresh home has `fresh_safety`, and so has whoever enters an epoch (`next_safety`).
        tip: The last executed block; None when that is the one that the epoch stands on.
        executed: The last executed blocks with their state roots, oldest first, ending at `tip`: the last two, or the
            only one. Genesis need not be among them.
        pending: Every stored proposal above the tip, in any order; those that do not connect to the tip, or are of
            another epoch, are ignored.
        history: The epoch's committed headers from `consensus.turns.history_start` to the tip, as far as they are here.
        running_since_ms: When the process started (monotonic), if this is not the first core in it.
    """

    safety: SafetyState | None
    tip: Tip | None = None
    executed: tuple[Executed, ...] = ()
    pending: tuple[Proposal, ...] = ()
    history: tuple[Header, ...] = ()
    running_since_ms: int | None = None
