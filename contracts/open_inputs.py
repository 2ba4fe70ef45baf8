"""What follows from running instances and is never stored: what is due when, and which samples matter.

As in `contracts.derived`, it follows its tables as a watcher. An instance's row needs its program's, so at start-up
programs are loaded first.

An input whose price is not there *rests*: nobody looks at it again until a sample arrives that could be its price, or a
time comes at which its absence counts. So a price that never comes costs nothing, and keeps nobody else waiting.
Whether an input rests is no part of the state, and must not show in it: to look at one that rests changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sortedcontainers import SortedList

from contracts.stored_programs import StoredPrograms
from contracts.tables import ContractRow, SampleRow
from contracts.vm.bytecode import InputKind
from contracts.vm.interpreter import Window, terms

Due = tuple[int, str, int]
"""(unix_ms, contract, input): from then on the system step looks at an open input."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running instance, what its inputs are.

    Attributes:
        kinds: By input.
        windows: By input.
        dues: By input, when it falls due.
        indices: By input, the index whose price it is; empty for an election or a moment.
    """

    kinds: tuple[InputKind, ...]
    windows: tuple[Window, ...]
    dues: tuple[int, ...]
    indices: tuple[str, ...]


class OpenInputs:
    """The derived side of contracts.

    Args:
        programs: Reads the instances' programs.
        delay_ms: How long after its instant a price is looked up.
        validity_ms: How long a sample stands for its price.

    Attributes:
        names: Every instance in the state.
    """

    __slots__ = (
        "_delay_ms",
        "_instants",
        "_looks",
        "_programs",
        "_rests",
        "_running",
        "_seen_unix_ms",
        "_validity_ms",
        "names",
    )

    def __init__(self, programs: StoredPrograms, delay_ms: int, validity_ms: int) -> None:
        self.names: SortedList[str] = SortedList()
        self._programs = programs
        self._delay_ms = delay_ms
        self._validity_ms = validity_ms
        self._running: dict[str, Running] = {}
        self._looks: SortedList[Due] = SortedList()
        """Every open input, by the time at which it is looked at next: when it falls due, or rests no longer."""
        self._rests: dict[tuple[str, int], int] = {}
        """Those that rest, and until when."""
        self._instants: dict[str, SortedList[Due]] = {}
        """By index, every open price, by its instant."""
        self._seen_unix_ms = 0
        """The latest time for which somebody asked what is due: nothing that falls due later rests."""

    def on_contract(self, contract: str, before: ContractRow | None, after: ContractRow | None) -> None:
        """Watch the contracts."""
        if before is None:
            self.names.add(contract)
        elif after is None:
            self.names.remove(contract)
        running = self._running.get(contract)
        if running is None and after is not None and after.is_open:
            running = self._running[contract] = self._started(after)
        if running is not None:
            opened, open_now = _open_inputs(running, before), _open_inputs(running, after)
            for number in sorted(opened - open_now):
                self._drop(contract, running, number)
            for number in sorted(open_now - opened):
                self._follow(contract, running, number)
            if after is None or not after.is_open:
                del self._running[contract]

    def on_sample(self, key: tuple[str, int], _before: SampleRow | None, _after: SampleRow | None) -> None:
        """Watch the samples: wake the inputs of which a changed one could be the price."""
        index, instant = key
        if self._rests and index in self._instants:
            until = min(instant + self._validity_ms, self._seen_unix_ms + 1)
            for _instant, contract, number in self._instants[index].irange(
                (instant, "", 0), (until, "", 0), (True, False)
            ):
                if (contract, number) in self._rests:
                    self._look_at(contract, number, self._running[contract].dues[number])

    def running(self, contract: str) -> Running:
        """What the inputs of an open instance are."""
        return self._running[contract]

    def due(self, time_unix_ms: int) -> list[Due]:
        """The open inputs that a block of that time looks at, in the order in which they fell due."""
        self._seen_unix_ms = max(self._seen_unix_ms, time_unix_ms)
        looked_at = self._looks.irange((0, "", 0), (time_unix_ms + 1, "", 0), (True, False))
        return sorted((self._running[contract].dues[number], contract, number) for _look, contract, number in looked_at)

    def rest(self, resting: Iterable[tuple[Due, int]]) -> None:
        """No price was found for these inputs that are due: look again at the time that stands with each, or when a
        sample comes that could be it. Instances that have closed since are passed over."""
        for (_due_unix_ms, contract, number), until_unix_ms in resting:
            if contract in self._running:
                self._look_at(contract, number, until_unix_ms)

    def needs_price(self, index: str, from_unix_ms: int, to_unix_ms: int) -> bool:
        """Whether an open input needs the price of `index` at an instant in ``[from, to)``."""
        instants = self._instants.get(index)
        return instants is not None and any(instants.irange((from_unix_ms, "", 0), (to_unix_ms, "", 0), (True, False)))

    def _follow(self, contract: str, running: Running, number: int) -> None:
        self._looks.add((running.dues[number], contract, number))
        index = running.indices[number]
        if index:
            instants = self._instants.setdefault(index, SortedList())
            instants.add((running.windows[number].opens_unix_ms, contract, number))

    def _drop(self, contract: str, running: Running, number: int) -> None:
        """Follow an input no more."""
        self._looks.remove((self._rests.pop((contract, number), running.dues[number]), contract, number))
        index = running.indices[number]
        if index:
            self._instants[index].remove((running.windows[number].opens_unix_ms, contract, number))

    def _look_at(self, contract: str, number: int, unix_ms: int) -> None:
        """Look at an open input next at that time; it rests until then, if it has fallen due before."""
        key, due_unix_ms = (contract, number), self._running[contract].dues[number]
        self._looks.remove((self._rests.pop(key, due_unix_ms), *key))
        self._looks.add((unix_ms, *key))
        if unix_ms != due_unix_ms:
            self._rests[key] = unix_ms

    def _started(self, row: ContractRow) -> Running:
        verified = self._programs.verified(row.program_id)
        windows = terms(verified, row.parameters).windows
        dues, indices = [], []
        for each, window in zip(verified.program.inputs, windows, strict=True):
            is_price = each.kind is InputKind.PRICE
            indices.append(row.feeds[each.source] if is_price else "")
            looked_up_unix_ms = window.opens_unix_ms + self._delay_ms if is_price else window.until_unix_ms
            dues.append(min(looked_up_unix_ms, window.until_unix_ms))
        return Running(tuple(each.kind for each in verified.program.inputs), windows, tuple(dues), tuple(indices))


def _open_inputs(running: Running, row: ContractRow | None) -> set[int]:
    """The inputs that an instance with this row waits for."""
    if row is None or not row.is_open:
        return set()
    return set(range(len(running.dues))).difference(number for number, _value in row.settled)
