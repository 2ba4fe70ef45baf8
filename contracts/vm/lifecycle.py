"""The whole life of an instance, off the chain: what it waits for, when that comes, and what it then pays.

The machine here is the one that settles on the chain: after each settled input the program runs from its beginning, and
the payments that are new are that stage's. Only prices and elections come from a source instead of feeds and members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.vm.bytecode import InputKind
from contracts.vm.interpreter import Payment, Settled, run, terms
from contracts.vm.verifier import Verified

Source = Callable[[int], int | None]
"""By input: the value of a price or an election; None if it does not arrive."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One settled input and what followed from it.

    Attributes:
        unix_ms: When: what arrives does so when its window opens, what does not is absent when it ends; and no stage is
            before the one that it followed.
        input: The input's number.
        value: Its value; None if it was absent.
        payments: The new payments.
        closed: Whether the instance closed; then the last payments are what was left, one for each asset.
    """

    unix_ms: int
    input: int
    value: int | None
    payments: tuple[Payment, ...]
    closed: bool


def lifecycle(verified: Verified, parameters: Sequence[int], settled: Settled, source: Source) -> tuple[Stage, ...]:
    """From what is settled already to the close.

    Args:
        verified: The program.
        parameters: Within their ranges.
        settled: What came before: its payments are made.
        source: What is still to come, as far as the instance waits for it; moments come by themselves.

    Raises:
        Rejected: As `contracts.vm.interpreter.run`.
    """
    windows = terms(verified, parameters).windows
    known, now, stages = dict(settled), 0, []
    reached = run(verified, parameters, known)
    while reached.waits_for is not None:
        number, made = reached.waits_for, len(reached.payments)
        is_moment = verified.program.inputs[number].kind is InputKind.MOMENT
        value = known[number] = 1 if is_moment else source(number)
        now = max(now, windows[number].opens_unix_ms if value is not None else windows[number].until_unix_ms)
        reached = run(verified, parameters, known)
        stages.append(Stage(now, number, value, reached.payments[made:], reached.waits_for is None))
    return tuple(stages)
