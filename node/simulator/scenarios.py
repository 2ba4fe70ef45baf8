"""Scenarios of twins: as JSON, and generated.

The form: ``{"scenarios": [{"name", "replicas": 4, "twins": [0], "views": [{"leader": 1, "partitions":
[["0", "1", "2"], ["0'", "3"]]}], "calm_views": 6}]}``. `node.simulator.twins` says what it means.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any, Final

from genesis.errors import Rejected

REPLICAS_MAX: Final = 64
VIEWS_MAX: Final = 1_000
SCENARIOS_MAX: Final = 100_000
FILE_BYTES_MAX: Final = 2**26
GROUPS_MAX: Final = 3
CALM_VIEWS: Final = 6


@dataclass(frozen=True, slots=True)
class View:
    """One scripted view: who leads, and who hears whom."""

    leader: int
    partitions: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, by view."""

    name: str
    replicas: int
    twins: tuple[int, ...]
    views: tuple[View, ...]
    calm_views: int

    @property
    def last_view(self) -> int:
        """The last view of the script and the calm after it."""
        return len(self.views) + self.calm_views

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of all instances."""
        return instances(self.replicas, self.twins)

    @property
    def document(self) -> dict[str, Any]:
        """For JSON."""
        views = [
            {"leader": each.leader, "partitions": [list(group) for group in each.partitions]} for each in self.views
        ]
        return {
            "name": self.name,
            "replicas": self.replicas,
            "twins": list(self.twins),
            "views": views,
            "calm_views": self.calm_views,
        }


def instances(replicas: int, twins: tuple[int, ...]) -> tuple[str, ...]:
    """``0``, ``1``, ... and the twins ``0'``, ..."""
    return (*(str(index) for index in range(replicas)), *(f"{index}'" for index in twins))


# --- reading ----------------------------------------------------------------------------------------------------------


def read_scenarios(data: bytes) -> list[Scenario]:
    """The scenarios of a file.

    Raises:
        Rejected: ``bad_scenario``, with the place of the fault.
    """
    if len(data) > FILE_BYTES_MAX:
        raise _bad("the file", f"has at most {FILE_BYTES_MAX:_} bytes")
    try:
        document = json.loads(data)
    except ValueError as error:
        raise _bad("the file", f"is JSON ({error})") from error
    entries = _field(document, "", "scenarios", list)
    if not 1 <= len(entries) <= SCENARIOS_MAX:
        raise _bad("scenarios", f"number 1 to {SCENARIOS_MAX:_}")
    return [_scenario(entry, f"scenarios[{number}]") for number, entry in enumerate(entries)]


def _scenario(entry: Any, where: str) -> Scenario:
    name = str(_field(entry, where, "name", str))
    replicas = _number(entry, where, "replicas", 1, REPLICAS_MAX)
    twins = tuple(_field(entry, where, "twins", list))
    for index in twins:
        if type(index) is not int or not 0 <= index < replicas:
            raise _bad(f"{where}.twins", f"are indices from 0 to {replicas - 1}")
    if len(set(twins)) != len(twins):
        raise _bad(f"{where}.twins", "are each named once")
    views = _field(entry, where, "views", list)
    if len(views) > VIEWS_MAX:
        raise _bad(f"{where}.views", f"number {VIEWS_MAX:_} at most")
    known = set(instances(replicas, twins))
    script = tuple(_view(view, f"{where}.views[{number}]", replicas, known) for number, view in enumerate(views))
    return Scenario(name, replicas, twins, script, _number(entry, where, "calm_views", 0, VIEWS_MAX))


def _view(entry: Any, where: str, replicas: int, known: set[str]) -> View:
    leader = _number(entry, where, "leader", 0, replicas - 1)
    groups = _field(entry, where, "partitions", list) if "partitions" in entry else []
    named: list[str] = []
    for group in groups:
        if not isinstance(group, list) or not all(isinstance(each, str) and each in known for each in group):
            raise _bad(f"{where}.partitions", f"are lists of {', '.join(sorted(known))}")
        named += group
    if len(set(named)) != len(named):
        raise _bad(f"{where}.partitions", "name an instance once")
    return View(leader, tuple(tuple(group) for group in groups))


def _field(entry: Any, where: str, name: str, kind: type) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
        raise _bad(f"{where}.{name}".lstrip("."), "is text" if kind is str else f"is a {kind.__name__}")
    return entry[name]


def _number(entry: Any, where: str, name: str, low: int, high: int) -> int:
    value = entry.get(name) if isinstance(entry, dict) else None
    if type(value) is not int or not low <= value <= high:
        raise _bad(f"{where}.{name}", f"is an integer from {low} to {high}")
    return value


def _bad(where: str, what: str) -> Rejected:
    return Rejected("bad_scenario", f"In a file of scenarios, {where} {what}.")


# --- generating -------------------------------------------------------------------------------------------------------


def sample_scenarios(replicas: int, views: int, count: int, seed: int) -> list[Scenario]:
    """Scenarios drawn under a seed: 1 to f twins, in each view a leader and up to `GROUPS_MAX` groups.

    A twin leads more often than its turn: an honest leader alone cannot equivocate.
    """
    chance = Random(seed)
    faulty_max = (replicas - 1) // 3
    found = []
    for number in range(count):
        twins = tuple(sorted(chance.sample(range(replicas), chance.randint(min(1, faulty_max), faulty_max))))
        names = instances(replicas, twins)
        script = []
        for _ in range(views):
            is_twin = bool(twins) and chance.random() < 0.5
            leader = chance.choice(twins) if is_twin else chance.randrange(replicas)
            script.append(View(leader, _draw_groups(names, chance)))
        found.append(Scenario(f"n{replicas}-seed{seed}-{number}", replicas, twins, tuple(script), CALM_VIEWS))
    return found


def _draw_groups(names: tuple[str, ...], chance: Random) -> tuple[tuple[str, ...], ...]:
    side = [chance.randrange(GROUPS_MAX) for _ in names]
    groups = [tuple(name for name, at in zip(names, side, strict=True) if at == group) for group in range(GROUPS_MAX)]
    return tuple(group for group in groups if group)


def every_scenario(replicas: int, views: int) -> Iterator[Scenario]:
    """All scenarios with twin 0, two groups a view, and leaders 0 or 1: by symmetry all others are like one of these.

    With m instances there are ``(2 * 2**(m - 1)) ** views`` of them, so this is for few views.
    """
    twins = (0,)
    names = instances(replicas, twins)
    splits = [_split(names, mask) for mask in range(2 ** (len(names) - 1))]
    choices = [View(leader, split) for leader in (0, 1) for split in splits]
    for number, script in enumerate(product(choices, repeat=views)):
        yield Scenario(f"n{replicas}-all-{number}", replicas, twins, script, CALM_VIEWS)


def _split(names: tuple[str, ...], mask: int) -> tuple[tuple[str, ...], ...]:
    """The groups of those whose bit is set and of the others; the first instance's never is."""
    far = tuple(name for bit, name in enumerate(names[1:]) if mask >> bit & 1)
    near = tuple(name for name in names if name not in far)
    return (near, far) if far else (near,)
