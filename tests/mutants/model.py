"""What a mutant is, and how it is hunted.

Rules:

1. A mutant is the product with one rule taken out, by a patch that lives as long as its hunt. What is patched is what
   the product really calls, so a rule that moves breaks its mutant loudly.
2. A hunt plays one network under one seed; the oracles of `node.simulator.checks` give the verdict. A mutant is found
   when any of them is broken under one of the hunt's seeds. The clean product passes the very same seeds, as far as
   the hunt went; under ``make mutants`` all of them.
3. A mutant that no hunt finds names what else stands in the way of harm (`masked`): the rule is a second line. It is
   then hunted together with its first line, under a name of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import pytest

from node.simulator.checks import Violation

Patch = Callable[[pytest.MonkeyPatch], None]
BOTH = ("hotstuff", "pbft")
HOTSTUFF = ("hotstuff",)
PBFT = ("pbft",)


@dataclass(frozen=True, slots=True)
class Hunt:
    """A way to play: `play` raises `Violation`, under each seed from 0 to below `seeds`."""

    name: str
    play: Callable[[str, int], None]
    seeds: int = 1


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule taken out.

    Attributes:
        name: Its name in docs/TESTING.md.
        rule: The rule, by its number and file.
        patch: What takes it out.
        hunt: What must find it.
        engines: The engines that it is hunted on.
        masked: Why nothing finds it, if nothing does.
        is_slow: Left to ``make mutants``.
    """

    name: str
    rule: str
    patch: Patch
    hunt: Hunt
    engines: tuple[str, ...] = BOTH
    masked: str = ""
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The first seed under which an oracle is broken, and which."""

    seed: int
    oracle: str


def hunt(mutant: Mutant, engine: str) -> Found | None:
    """Play the mutant's hunt on the mutant, seed after seed, until an oracle is broken."""
    with patched(mutant.patch):
        return next((found for seed in range(mutant.hunt.seeds) if (found := _play(mutant.hunt, engine, seed))), None)


@cache
def clean(hunt: Hunt, engine: str, seed: int) -> Found | None:
    """What the same hunt breaks on the product as it is, under one seed."""
    return _play(hunt, engine, seed)


@contextmanager
def patched(patch: Patch) -> Iterator[None]:
    """The product with the patch, for as long as this lasts."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        patch(monkeypatch)
        yield


def _play(hunt: Hunt, engine: str, seed: int) -> Found | None:
    try:
        hunt.play(engine, seed)
    except Violation as violation:
        return Found(seed, violation.rule)
    return None
