"""What a simulated run is told: its size, its engine, its faults. Together with the seed it decides every bit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from genesis.errors import Rejected
from genesis.params import ChainParams

VALIDATORS_MAX: Final = 100
VIEWS_MAX: Final = 1_000_000


@unique
class Fault(StrEnum):
    """Everything that can be injected; the names are those of ``--faults``."""

    # The network, all links or some.
    LOSS = "loss"
    DUPLICATION = "duplication"
    REORDER = "reorder"
    DELAY = "delay"
    PARTITION = "partition"
    ONE_WAY = "one-way"
    BRIDGE = "bridge"
    FLAPPING = "flapping"
    # Clocks and processes.
    SKEW = "skew"
    CLOCK_JUMP = "clock-jump"
    PAUSE = "pause"
    CRASH = "crash"
    BLACKOUT = "blackout"
    # Disks and memories.
    SLOW_DISK = "slow-disk"
    DISK_ERROR = "disk-error"
    AMNESIA = "amnesia"
    WIPE = "wipe"
    BACKUP = "backup"
    # The set of validators.
    EPOCHS = "epochs"
    # Byzantine replicas.
    EQUIVOCATE = "equivocate"
    DOUBLE_VOTE = "double-vote"
    TWIN = "twin"
    WITHHOLD = "withhold"
    WITHHOLD_BATCH = "withhold-batch"
    SELECTIVE = "selective"
    CENSOR = "censor"
    FUTURE_VIEWS = "future-views"
    INVALID_BLOCKS = "invalid-blocks"
    STALE = "stale-certificates"
    FORGE = "forge"
    OLD_EPOCH = "old-epoch"


BYZANTINE: Final = tuple(Fault)[list(Fault).index(Fault.EQUIVOCATE) :]
"""What makes a replica Byzantine; it stays so for the whole run."""

MEMORY: Final = (Fault.AMNESIA, Fault.WIPE, Fault.BACKUP)
"""What breaks the promise that what was synced stays; counted against f like a Byzantine replica."""

SIMULATED: Final = ChainParams(
    view_timeout_ms=100,
    view_timeout_ms_max=800,
    resend_interval_ms=50,
    block_interval_idle_ms=60,
    block_interval_ms_min=3,
    block_time_ahead_ms_max=200,
    batches_open_per_author_max=32,
    merkle_depth=6,
    settlement_window_ms=1_000,
    settlement_sample_validity_ms=500,
    settlement_delay_ms=100,
    settlement_grace_ms=400,
)
"""A chain in haste: the usual proportions at a tenth of the usual timeouts, so that faults and views meet often."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One run.

    Attributes:
        seed: Of the only source of chance.
        engine: ``hotstuff`` or ``pbft``.
        powers: Each validator's voting power.
        views: The run injects faults until an honest replica is in this view; then it heals.
        faults: What may be injected, in the order of `Fault`.
        real_state: The real state machine under a small market, instead of one that only hashes.
        real_signatures: Ed25519 instead of a keyed digest, remembered for all replicas together.
        params: The chain's limits.
    """

    seed: int
    engine: str = "hotstuff"
    powers: tuple[int, ...] = (1, 1, 1, 1)
    views: int = 50
    faults: tuple[Fault, ...] = tuple(Fault)
    real_state: bool = False
    real_signatures: bool = False
    params: ChainParams = SIMULATED

    def __post_init__(self) -> None:
        if not 1 <= len(self.powers) <= VALIDATORS_MAX:
            raise Rejected("bad_settings", f"1 to {VALIDATORS_MAX} validators can be simulated.", got=len(self.powers))
        if not 1 <= self.views <= VIEWS_MAX:
            raise Rejected("bad_settings", f"1 to {VIEWS_MAX:_} views can be simulated.", got=self.views)

    @property
    def command(self) -> str:
        """What replays this run."""
        words = ["novate sim", f"--seed {self.seed}", f"--engine {self.engine}", f"--validators {len(self.powers)}"]
        words += [f"--views {self.views}", f"--faults {faults_text(self.faults)}"]
        words += ["--real-state"] * self.real_state + ["--real-signatures"] * self.real_signatures
        return " ".join(words)


def parse_faults(text: str) -> tuple[Fault, ...]:
    """``all``, ``none``, or names with commas between them; a name after a minus sign is left out of all.

    Raises:
        Rejected: ``bad_settings``: there is no such fault.
    """
    if text == "none":
        return ()
    names = text.split(",")
    removed = {name.removeprefix("-") for name in names if name.startswith("-")}
    added = {name for name in names if not name.startswith("-")}
    unknown = sorted((removed | added) - set(Fault) - {"all"})
    if unknown:
        raise Rejected("bad_settings", f"No such fault; there are {', '.join(Fault)}.", faults=", ".join(unknown))
    is_all = "all" in added or not added
    return tuple(fault for fault in Fault if (is_all or fault in added) and fault not in removed)


def faults_text(faults: Iterable[Fault]) -> str:
    """The inverse of `parse_faults`."""
    chosen = tuple(faults)
    if len(chosen) == len(Fault):
        return "all"
    return ",".join(chosen) or "none"
