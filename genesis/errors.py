"""Whose fault a failure is.

Three families that never mix:

* `Rejected`: a peer's or client's fault. Counted and answered, never a crash. Carries a stable `code` for programs,
  a sentence for people, and the values that were compared.
* Outcomes of execution, which are recorded in receipts (see `contracts`).
* `InvariantViolation`: ours. Never caught below the top of the process: the node stops.
"""

from __future__ import annotations

from typing import NoReturn

Detail = int | str | bool


class Rejected(Exception):
    """Input from outside that breaks a rule.

    Args:
        code: A stable lower_snake_case identifier of the rule, e.g. ``bad_signature``.
        message: One sentence for a person: what was wrong and, where it helps, what to do.
        details: The values compared, by name; shown as ``name=value`` after the message.
    """

    def __init__(self, code: str, message: str, **details: Detail) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        compared = ", ".join(f"{name}={value}" for name, value in self.details.items())
        return f"{self.code}: {self.message}" + (f" ({compared})" if compared else "")


class InvariantViolation(BaseException):
    """A condition that our own code promised does not hold; the process must stop.

    It derives from `BaseException` so that no handler for ordinary errors can swallow it.
    """

    def __init__(self, message: str, **values: object) -> None:
        super().__init__(message)
        self.message = message
        self.values = values

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.values.items())
        return self.message + (f" ({shown})" if shown else "")


def invariant(condition: bool, message: str, **values: object) -> None:
    """Stop the process unless `condition` holds; the product's replacement for ``assert``."""
    if not condition:
        violated(message, **values)


def violated(message: str, **values: object) -> NoReturn:
    """Raise `InvariantViolation`; for branches that must not be reached."""
    raise InvariantViolation(message, **values)
