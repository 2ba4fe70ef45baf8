"""The failures that no node survives, and that its operator can do something about.

* `StorageFailure`: its own disk.
* `ReplicaHalted`: what the others certified contradicts its memory.

Neither is a peer's fault, and neither need be ours, so they belong to neither `Rejected` nor `InvariantViolation`. Like
the latter they end the process, with a message that says what to do. They derive from `BaseException` so that no
handler for ordinary errors can swallow them, and so that nothing is ever signed, answered or executed afterwards.
"""

from __future__ import annotations

from typing import Final

HALT_ADVICE: Final = (
    "Do not merely start it again. If its key also runs elsewhere, stop that process. If its safety file is an old "
    "copy, or the key ran elsewhere, move data/safety away, keep data/ledger and start it: it stays silent until the "
    "others tell from which view on it may sign (with fewer than four equal validators nobody can, and it needs a new "
    "key). If a state root differs, keep a copy of the home for whoever looks for the cause, install the release that "
    "the others run, move data/ledger away, keep data/safety and start it: it fetches the chain again."
)
"""What an operator can do about a `ReplicaHalted`; paths are relative to the home."""

DISK_ADVICE: Final = (
    "Check the disk's free space and health, and whether it may be written, then start the process again"
)
"""What an operator can do about a `StorageFailure` whose cause lies outside of our files."""


class StorageFailure(BaseException):
    """The disk refused a read or a write, or returned something that cannot be right; the process must stop.

    Args:
        doing: What was attempted, as a phrase that follows "cannot", e.g. ``write a block``.
        reason: What the system said.
        advice: What the operator can do, one sentence.
    """

    def __init__(self, doing: str, reason: str, advice: str) -> None:
        super().__init__(doing, reason, advice)
        self.doing = doing
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return f"Storage failure: cannot {self.doing}: {self.reason}. {self.advice}"


class ReplicaHalted(BaseException):
    """Our key signed what our safety state does not know, or our state root is not the certified one.

    Args:
        reason: What contradicts what, as the core says it (`consensus.events.Halt`).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = HALT_ADVICE

    def __str__(self) -> str:
        return f"The replica halted: {self.reason}. {self.advice}"
