"""Who is what in a run: which replicas are Byzantine, lose their memory, or have a wrong clock, within what is allowed.

Rules, the account of f:

1. Less than a third of the power, ``(total - 1) // 3`` at most, belongs in any one run to replicas that are Byzantine
   or twins, that lose their safety state or their ledger or have an old one put back, or whose clock is wrong by more
   than voters tolerate. They are charged together and for the whole run, also where the troubles come one by one.
2. Everything else may befall any replica, or all at once, without limit: crashes at any point, stops, partitions,
   losses, delays, slow and failing disks, clocks that differ by less than half of what voters tolerate.

Why memory is charged: a quorum's certificate promises that honest replicas of it remember. An amnesiac that follows
rule C19 of the protocol contradicts nothing (its key is held to that), but for liveness it is one less, and a lost
ledger may have held a block that only so many others hold. Why clocks are charged: a voter whose clock is minutes
behind does not vote, a leader whose clock is minutes ahead gets no votes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from genesis.params import ChainParams
from node.simulator.settings import BYZANTINE, MEMORY, Fault, Settings

CHARGED: Final = (*BYZANTINE, *MEMORY, Fault.SKEW)
ALL_HONEST: Final = 0.15
"""The share of runs in which nothing is charged, so that the network's faults are seen alone."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The charged replicas, each with what is wrong with it."""

    roles: tuple[tuple[int, Fault], ...] = ()

    def role(self, index: int) -> Fault | None:
        """What is wrong with this validator; None if it is not charged."""
        return dict(self.roles).get(index)


def draw_params(params: ChainParams, chance: Random) -> ChainParams:
    """The limits of a run: votes to all or to the next leaders alone, large or small answers to sync requests."""
    return replace(
        params,
        broadcast_votes_validators_max=chance.choice([params.broadcast_votes_validators_max, 1]),
        sync_blocks_max=chance.choice([params.sync_blocks_max, params.sync_blocks_max, 3]),
    )


def draw_cast(settings: Settings, chance: Random) -> Cast:
    """Charge up to f of the power with the faults that are asked for."""
    available = [fault for fault in CHARGED if fault in settings.faults]
    is_spared = chance.random() < ALL_HONEST
    if not available or is_spared:
        return Cast()
    left = (sum(settings.powers) - 1) // 3
    roles = []
    for index in chance.sample(range(len(settings.powers)), len(settings.powers)):
        if settings.powers[index] <= left:
            left -= settings.powers[index]
            roles.append((index, chance.choice(available)))
    return Cast(tuple(sorted(roles)))
