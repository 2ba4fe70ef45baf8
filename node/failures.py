"""The failure that no node survives: its own disk.

`StorageFailure` is neither a peer's fault nor ours, so it belongs to neither `Rejected` nor `InvariantViolation`. Like
the latter it ends the process, with a message that says what to do.
"""

from __future__ import annotations


class StorageFailure(BaseException):
    """The disk refused a read or a write, or returned something that cannot be right; the process must stop.

    It derives from `BaseException` so that no handler for ordinary errors can swallow it, and so that nothing is ever
    signed, answered or executed on top of data that may be gone.

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
