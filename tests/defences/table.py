"""Every row of docs/FAULTS.md whose defence exists: what takes it out, and which test must then fail.

docs/TESTING.md has the same rows.
"""

from __future__ import annotations

from typing import Final

from tests.defences import outside, within
from tests.defences.model import Hunted

AGREEMENT: Final = (
    Hunted(1, ("V1 off", "leader unchecked", "proposal unsigned")),
    Hunted(2, ("V1 off", "vote unsigned", "voter counted twice")),
    Hunted(3, ("amnesia: signs at once", "amnesia: one report is enough", "vote not persisted")),
    Hunted(4, ("own signature in later view ignored", "own signature in skipped view ignored")),
    Hunted(5, ("vote persisted late", "proposal persisted late", "timeout persisted late")),
    Hunted(10, ("block not durable at its commit", "batches not durable before the vote")),
    Hunted(15, ("anchor's root not compared",)),
    Hunted(16, ("payload not awaited",)),
    Hunted(17, ("D2 off",)),
    Hunted(18, ("V4 off", "V4 off, new blocks", "V4 off, old blocks")),
    Hunted(20, ("quorum one too small", "one voice ends a view")),
    Hunted(25, ("epoch unchecked", "V2 off, epoch unchecked")),
    Hunted(29, ("signatures unchecked", "timeout unsigned")),
    Hunted(37, ("certified root not compared",)),
)
"""Rules of agreement, which `tests.mutants` takes out and the simulator finds missing."""

DEFENCES: Final = (
    *within.SIGNING,
    *within.DISK,
    *within.LEADERS,
    *within.NETWORK,
    *outside.PEERS,
    *outside.MEMBERSHIP,
    *outside.CONTRACTS,
)
