"""From one epoch to the next: what both shells decide alike (`node.epochs`, and `node.simulator` in virtual time).

Rules:

1. The ledger says which epoch it is: that of the block above its tip. At an edge that is the next epoch once the blocks
   that closed the last one are in the ledger, and not before.
2. Who is in the validator set takes part with the state that `consensus.safety.next_safety` makes of its last one. Who
   is not, or whose ledger is behind its own signatures, observes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consensus.events import SafetyState
from consensus.safety import next_safety
from consensus.types import OBSERVER, QC, Header, Proposal, ReplicaIndex
from genesis.epochs import epoch_after_block, is_edge


@dataclass(frozen=True, slots=True)
class Seat:
    """How a validator begins an epoch.

    Attributes:
        index: Its place in the set, or `OBSERVER`.
        safety: The state to begin with; None for who observes, or has lost it.
        is_behind: Whether it observes because its ledger is behind what it has signed.
    """

    index: ReplicaIndex
    safety: SafetyState | None
    is_behind: bool


def epoch_of_ledger(height: int, epoch_blocks: int, is_closed: Callable[[int], bool]) -> int:
    """The epoch to go on in (rule 1); `is_closed` says whether the blocks that closed an epoch are in the ledger."""
    epoch = epoch_after_block(height, epoch_blocks)
    return epoch - 1 if is_edge(height, epoch_blocks) and not is_closed(epoch - 1) else epoch


def take_seat(saved: SafetyState | None, base: Header, epoch: int, place: ReplicaIndex) -> Seat:
    """The seat (rule 2) of whoever has this place, or none, in the set of an epoch that stands on `base`; `saved` is
    its last safety state, None when it is lost."""
    safety = next_safety(saved, base, epoch) if saved is not None else None
    is_behind = saved is not None and safety is None
    if is_behind or place == OBSERVER:
        return Seat(OBSERVER, None, is_behind)
    return Seat(place, safety, is_behind)


def with_certificates(closing: Sequence[Proposal], qc: QC) -> list[tuple[Proposal, QC]]:
    """Consecutive blocks, each with its certificate: the next one's `justify`, of the last one `qc`."""
    return list(zip(closing, [*(each.justify for each in closing[1:]), qc], strict=True))
