"""Who is what in a run: which replicas are Byzantine, lose their memory, or have a wrong clock, within what is allowed.

Rules, the account of f:

1. Less than a third of the power of every epoch's set, ``(total - 1) // 3`` at most, belongs in any one run to replicas
   that are Byzantine or twins, that lose their safety state or their ledger or have an old one put back, or whose clock
   is wrong by more than voters tolerate. They are charged together and for the whole run, also where the troubles come
   one by one.
2. Everything else may befall any replica, or all at once, without limit: crashes at any point, stops, partitions,
   losses, delays, slow and failing disks, clocks that differ by less than half of what voters tolerate.

Why memory is charged: a quorum's certificate promises that honest replicas of it remember. An amnesiac that follows
rule C19 of the protocol contradicts nothing (its key is held to that), but for liveness it is one less, and a lost
ledger may have held a block that only so many others hold. Why clocks are charged: a voter whose clock is minutes
behind does not vote, a leader whose clock is minutes ahead gets no votes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from genesis.params import ChainParams
from node.simulator.settings import BYZANTINE, MEMORY, Fault, Settings

CHARGED: Final = (*BYZANTINE, *MEMORY, Fault.SKEW)
ALL_HONEST: Final = 0.15
"""The share of runs in which nothing is charged, so that the network's faults are seen alone."""

EPOCH_BLOCKS: Final = (0, 0, 0, 8, 8, 13)
"""How long epochs are; 0 for so long that none ends."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The charged replicas, each with what is wrong with it."""

    roles: tuple[tuple[int, Fault], ...] = ()

    def role(self, operator: int) -> Fault | None:
        """What is wrong with this operator; None if it is not charged."""
        return dict(self.roles).get(operator)


def draw_params(params: ChainParams, chance: Random) -> ChainParams:
    """The limits of a run: votes to all or to the next leaders alone, large or small answers to sync requests."""
    return replace(
        params,
        broadcast_votes_validators_max=chance.choice([params.broadcast_votes_validators_max, 1]),
        sync_blocks_max=chance.choice([params.sync_blocks_max, params.sync_blocks_max, 3]),
    )


def draw_epochs(params: ChainParams, chance: Random) -> ChainParams:
    """With the fault `epochs`: half of the runs have epochs so short that several of their edges are crossed."""
    blocks = chance.choice(EPOCH_BLOCKS)
    return replace(params, epoch_blocks=blocks) if blocks else params


def draw_cast(settings: Settings, chance: Random, epochs: Sequence[Mapping[int, int]] = ()) -> Cast:
    """Charge up to f of the power with the faults that are asked for.

    Args:
        settings: The run.
        chance: Its chance.
        epochs: The power of each operator in each epoch; none for the settings' powers alone.
    """
    available = [fault for fault in CHARGED if fault in settings.faults]
    is_spared = chance.random() < ALL_HONEST
    if not available or is_spared:
        return Cast()
    sets = list(epochs) or [dict(enumerate(settings.powers))]
    left = [(sum(powers.values()) - 1) // 3 for powers in sets]
    operators = sorted({operator for powers in sets for operator in powers})
    roles = []
    for operator in chance.sample(operators, len(operators)):
        needed = [powers.get(operator, 0) for powers in sets]
        if all(power <= room for power, room in zip(needed, left, strict=True)):
            left = [room - power for power, room in zip(needed, left, strict=True)]
            roles.append((operator, chance.choice(available)))
    return Cast(tuple(sorted(roles)))
