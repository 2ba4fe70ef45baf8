"""What follows from stored programs and running instances and is never stored: verified programs, and what is due when.

As in `contracts.derived`, it follows its tables as a watcher. Rows are looked into when somebody asks, because at
start-up an instance may be loaded before its program.

An input whose price is not there *rests*: nobody looks at it again until a sample arrives that could be its price, or a
time comes at which its absence counts. So a price that never comes costs nothing, and keeps nobody else waiting.
Whether an input rests is no part of the state, and must not show in it: to look at one that rests changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from contracts.tables import ContractRow, ProgramRow, Table
from contracts.vm.bytecode import InputKind, decode_program
from contracts.vm.interpreter import Window, terms
from contracts.vm.verifier import Verified, verify

Due = tuple[int, str, int]
"""(unix_ms, contract, input): from then on the system step looks at an open input."""

_BULK = 16
"""From so many on, sorting a nearly sorted list again is cheaper than inserting one by one."""


@dataclass(slots=True)
class _Running:
    """A running instance.

    Attributes:
        fixed: What its windows follow from.
        windows: By input.
        dues: By input, when it falls due.
        indices: By input, the index whose price it is; empty for an election.
        looks: By open input, when it is looked at next.
    """

    fixed: tuple[object, ...]
    windows: tuple[Window, ...]
    dues: tuple[int, ...]
    indices: tuple[str, ...]
    looks: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Difference:
    """What leaves one sorted list, and what enters it."""

    gone: list[Due] = field(default_factory=list)
    new: list[Due] = field(default_factory=list)

    def apply(self, entries: list[Due]) -> None:
        if len(self.gone) + len(self.new) >= _BULK:
            gone = set(self.gone)
            entries[:] = sorted([*(each for each in entries if each not in gone), *self.new])
            return
        for each in self.gone:
            _remove(entries, each)
        for each in self.new:
            insort(entries, each)


class OpenInputs:
    """The derived side of contracts.

    Args:
        gas_max: The chain's limit for a program.
        delay_ms: How long after its instant a price is looked up.
        validity_ms: How long a sample stands for its price.
    """

    __slots__ = (
        "_changed",
        "_gas_max",
        "_instants",
        "_live_of",
        "_looks",
        "_names",
        "_new_names",
        "_programs",
        "_resting",
        "_rows",
        "_running",
        "_validity_ms",
        "_verified",
        "delay_ms",
        "live",
    )

    def __init__(self, gas_max: int, delay_ms: int, validity_ms: int) -> None:
        self.delay_ms = delay_ms
        self.live = 0
        self._gas_max = gas_max
        self._validity_ms = validity_ms
        self._verified: dict[bytes, Verified] = {}
        self._live_of: Counter[bytes] = Counter()
        self._names: list[str] = []
        self._new_names: list[str] = []
        self._changed: dict[str, None] = {}
        self._running: dict[str, _Running] = {}
        self._looks: list[Due] = []
        self._instants: dict[str, list[Due]] = {}
        self._resting: dict[str, list[Due]] = {}

    def watch(self, programs: Table[bytes, ProgramRow], rows: Table[str, ContractRow]) -> None:
        """Follow these two tables; `on_sample` follows a third."""
        self._programs, self._rows = programs, rows
        programs.watch(self._on_program)
        rows.watch(self._on_contract)

    def _on_program(self, program_id: bytes, _before: ProgramRow | None, after: ProgramRow | None) -> None:
        if after is None:
            self._verified.pop(program_id, None)

    def _on_contract(self, contract: str, before: ContractRow | None, after: ContractRow | None) -> None:
        self._changed[contract] = None
        if before is None:
            self._new_names.append(contract)
        elif after is None:
            names = self.names
            del names[bisect_left(names, contract)]
        for row, change in ((before, -1), (after, 1)):
            if row is not None and row.is_open:
                self.live += change
                self._live_of[row.program_id] += change
                if not self._live_of[row.program_id]:
                    del self._live_of[row.program_id]

    def on_sample(self, key: tuple[str, int]) -> None:
        """A sample has changed: wake the inputs of which it could be the price."""
        index, instant = key
        resting = self._resting.get(index, [])
        low, high = _between(resting, instant, instant + self._validity_ms)
        if low < high:
            woken = [(contract, number) for _instant, contract, number in resting[low:high]]
            self._look_again({(contract, number): self._running[contract].dues[number] for contract, number in woken})
            del resting[low:high]

    def verified(self, program_id: bytes) -> Verified:
        """The stored program of this id."""
        known = self._verified.get(program_id)
        if known is None:
            program = decode_program(self._programs.rows[program_id].encoded)
            known = self._verified[program_id] = verify(program, self._gas_max)
        return known

    def remember(self, program_id: bytes, verified: Verified) -> None:
        """Keep what storing the program has computed."""
        self._verified[program_id] = verified

    @property
    def names(self) -> list[str]:
        """Every instance there ever was, ascending; sorted in when somebody asks, as in `Derived.series_names`."""
        if self._new_names:
            self._names.extend(self._new_names)
            self._names.sort()
            self._new_names.clear()
        return self._names

    @property
    def inputs_live(self) -> int:
        """How many inputs, open or settled, all running instances have."""
        return sum(count * len(self.verified(each).program.inputs) for each, count in self._live_of.items())

    def windows(self, contract: str) -> tuple[Window, ...]:
        """The windows of an instance's inputs."""
        running, row = self._running.get(contract), self._rows.rows[contract]
        if running is not None and running.fixed == _fixed(row):
            return running.windows
        return terms(self.verified(row.program_id), row.parameters).windows

    def due(self, time_unix_ms: int) -> list[Due]:
        """The open inputs that a block of that time looks at, in the order in which they fell due."""
        self._look_into_changes()
        looked_at = self._looks[: bisect_left(self._looks, (time_unix_ms + 1, "", 0))]
        running = self._running
        return sorted((running[contract].dues[number], contract, number) for _look, contract, number in looked_at)

    def rest(self, resting: Iterable[tuple[Due, int]]) -> None:
        """No price was found for these inputs that are due: look again at the time that stands with each, or when a
        sample comes that could be it. All at once, for a hundred thousand may come due in one block."""
        looks: dict[tuple[str, int], int] = {}
        entries: dict[str, _Difference] = {}
        for (_due_unix_ms, contract, number), until_unix_ms in resting:
            looks[contract, number] = until_unix_ms
            running = self._running[contract]
            entry = (running.windows[number].opens_unix_ms, contract, number)
            difference = entries.setdefault(running.indices[number], _Difference())
            difference.gone.append(entry)
            difference.new.append(entry)
        self._look_again(looks)
        for index, difference in entries.items():
            difference.apply(self._resting.setdefault(index, []))

    def needs_price(self, index: str, from_unix_ms: int, to_unix_ms: int) -> bool:
        """Whether an open input needs the price of `index` at an instant in ``[from, to)``."""
        self._look_into_changes()
        low, high = _between(self._instants.get(index, []), from_unix_ms, to_unix_ms)
        return low < high

    def _look_again(self, times_unix_ms: Mapping[tuple[str, int], int]) -> None:
        """Look at these inputs, (contract, input), next at these times."""
        difference = _Difference()
        for (contract, number), unix_ms in times_unix_ms.items():
            looks = self._running[contract].looks
            difference.gone.append((looks[number], contract, number))
            difference.new.append((unix_ms, contract, number))
            looks[number] = unix_ms
        difference.apply(self._looks)

    def _look_into_changes(self) -> None:
        """Bring what is followed up to date with the rows that have changed."""
        if not self._changed:
            return
        looks, instants = _Difference(), dict[str, _Difference]()
        for contract in self._changed:
            row, running = self._rows.rows.get(contract), self._running.get(contract)
            fixed = None if row is None or not row.is_open else _fixed(row)
            if running is not None and running.fixed != fixed:
                for number in list(running.looks):
                    self._drop(contract, running, number, looks, instants)
                del self._running[contract]
            if row is not None and fixed is not None:
                self._look_into(contract, row, looks, instants)
        self._changed.clear()
        looks.apply(self._looks)
        for index, difference in instants.items():
            difference.apply(self._instants.setdefault(index, []))

    def _look_into(self, contract: str, row: ContractRow, looks: _Difference, instants: dict[str, _Difference]) -> None:
        running = self._running.get(contract)
        if running is None:
            running = self._running[contract] = self._started(row)
        settled = dict(row.settled)
        for number in [each for each in running.looks if each in settled]:
            self._drop(contract, running, number, looks, instants)
        for number, due_unix_ms in enumerate(running.dues):
            if number not in settled and number not in running.looks:
                running.looks[number] = due_unix_ms
                looks.new.append((due_unix_ms, contract, number))
                index, opens_unix_ms = running.indices[number], running.windows[number].opens_unix_ms
                if index:
                    instants.setdefault(index, _Difference()).new.append((opens_unix_ms, contract, number))

    def _drop(
        self, contract: str, running: _Running, number: int, looks: _Difference, instants: dict[str, _Difference]
    ) -> None:
        """Follow an input no more."""
        looks.gone.append((running.looks.pop(number), contract, number))
        index = running.indices[number]
        if index:
            entry = (running.windows[number].opens_unix_ms, contract, number)
            instants.setdefault(index, _Difference()).gone.append(entry)
            _remove(self._resting.get(index, []), entry)

    def _started(self, row: ContractRow) -> _Running:
        verified = self.verified(row.program_id)
        windows = terms(verified, row.parameters).windows
        dues, indices = [], []
        for each, window in zip(verified.program.inputs, windows, strict=True):
            is_price = each.kind is InputKind.PRICE
            indices.append(row.feeds[each.source] if is_price else "")
            looked_up_unix_ms = window.opens_unix_ms + self.delay_ms if is_price else window.until_unix_ms
            dues.append(min(looked_up_unix_ms, window.until_unix_ms))
        return _Running(_fixed(row), windows, tuple(dues), tuple(indices))


def _fixed(row: ContractRow) -> tuple[object, ...]:
    """What an instance's windows follow from."""
    return row.program_id, row.feeds, row.parameters


def _between(entries: list[Due], from_unix_ms: int, to_unix_ms: int) -> tuple[int, int]:
    """The places of the entries in ``[from, to)``."""
    return bisect_left(entries, (from_unix_ms, "", 0)), bisect_left(entries, (to_unix_ms, "", 0))


def _remove(entries: list[Due], entry: Due) -> None:
    """Remove an entry if it is there."""
    place = bisect_left(entries, entry)
    if entries[place : place + 1] == [entry]:
        del entries[place]
