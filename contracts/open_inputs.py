"""What follows from stored programs and running instances and is never stored: verified programs, and what is due when.

As in `contracts.derived`, it follows its tables as a watcher. An instance's row needs its program's, so at start-up
programs are loaded first.

An input whose price is not there *rests*: nobody looks at it again until a sample arrives that could be its price, or a
time comes at which its absence counts. So a price that never comes costs nothing, and keeps nobody else waiting.
Whether an input rests is no part of the state, and must not show in it: to look at one that rests changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from contracts.sorted_list import SortedList
from contracts.tables import ContractRow, ProgramRow, SampleRow, Table
from contracts.vm.bytecode import InputKind, decode_program
from contracts.vm.interpreter import Window, terms
from contracts.vm.verifier import Verified, verify

Due = tuple[int, str, int]
"""(unix_ms, contract, input): from then on the system step looks at an open input."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A running instance.

    Attributes:
        windows: By input.
        dues: By input, when it falls due.
        indices: By input, the index whose price it is; empty for an election or a moment.
    """

    windows: tuple[Window, ...]
    dues: tuple[int, ...]
    indices: tuple[str, ...]


class OpenInputs:
    """The derived side of contracts.

    Args:
        gas_max: The chain's limit for a program.
        delay_ms: How long after its instant a price is looked up.
        validity_ms: How long a sample stands for its price.

    Attributes:
        live: How many instances run.
        names: Every instance there ever was.
    """

    __slots__ = (
        "_delay_ms",
        "_gas_max",
        "_instants",
        "_live_of",
        "_looks",
        "_programs",
        "_rests",
        "_rows",
        "_running",
        "_seen_unix_ms",
        "_validity_ms",
        "_verified",
        "live",
        "names",
    )

    def __init__(self, gas_max: int, delay_ms: int, validity_ms: int) -> None:
        self.live = 0
        self.names: SortedList[str] = SortedList()
        self._gas_max = gas_max
        self._delay_ms = delay_ms
        self._validity_ms = validity_ms
        self._verified: dict[bytes, Verified] = {}
        self._live_of: Counter[bytes] = Counter()
        self._running: dict[str, _Running] = {}
        self._looks: SortedList[Due] = SortedList()
        """Every open input, by the time at which it is looked at next: when it falls due, or rests no longer."""
        self._rests: dict[tuple[str, int], int] = {}
        """Those that rest, and until when."""
        self._instants: dict[str, SortedList[Due]] = {}
        """By index, every open price, by its instant."""
        self._seen_unix_ms = 0
        """The latest time for which somebody asked what is due: nothing that falls due later rests."""

    def watch(self, programs: Table[bytes, ProgramRow], rows: Table[str, ContractRow]) -> None:
        """Follow these two tables; `on_sample` follows a third."""
        self._programs, self._rows = programs, rows
        programs.watch(self._on_program)
        rows.watch(self._on_contract)

    def _on_program(self, program_id: bytes, _before: ProgramRow | None, after: ProgramRow | None) -> None:
        if after is None:
            self._verified.pop(program_id, None)

    def _on_contract(self, contract: str, before: ContractRow | None, after: ContractRow | None) -> None:
        if before is None:
            self.names.add(contract)
        elif after is None:
            self.names.remove(contract)
        for row, change in ((before, -1), (after, 1)):
            if row is not None and row.is_open:
                self.live += change
                self._live_of[row.program_id] += change
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
        """A sample has changed: wake the inputs of which it could be the price."""
        index, instant = key
        if self._rests and index in self._instants:
            until = min(instant + self._validity_ms, self._seen_unix_ms + 1)
            for _instant, contract, number in self._instants[index].between((instant, "", 0), (until, "", 0)):
                if (contract, number) in self._rests:
                    self._look_at(contract, number, self._running[contract].dues[number])

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
    def inputs_live(self) -> int:
        """How many inputs, open or settled, all running instances have."""
        return sum(count * len(self.verified(each).program.inputs) for each, count in self._live_of.items() if count)

    def windows(self, contract: str) -> tuple[Window, ...]:
        """The windows of an instance's inputs."""
        running = self._running.get(contract)
        if running is not None:
            return running.windows
        row = self._rows.rows[contract]
        return terms(self.verified(row.program_id), row.parameters).windows

    def due(self, time_unix_ms: int) -> list[Due]:
        """The open inputs that a block of that time looks at, in the order in which they fell due."""
        self._seen_unix_ms = max(self._seen_unix_ms, time_unix_ms)
        looked_at = self._looks.between((0, "", 0), (time_unix_ms + 1, "", 0))
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
        return instants is not None and any(instants.between((from_unix_ms, "", 0), (to_unix_ms, "", 0)))

    def _follow(self, contract: str, running: _Running, number: int) -> None:
        self._looks.add((running.dues[number], contract, number))
        index = running.indices[number]
        if index:
            instants = self._instants.setdefault(index, SortedList())
            instants.add((running.windows[number].opens_unix_ms, contract, number))

    def _drop(self, contract: str, running: _Running, number: int) -> None:
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

    def _started(self, row: ContractRow) -> _Running:
        verified = self.verified(row.program_id)
        windows = terms(verified, row.parameters).windows
        dues, indices = [], []
        for each, window in zip(verified.program.inputs, windows, strict=True):
            is_price = each.kind is InputKind.PRICE
            indices.append(row.feeds[each.source] if is_price else "")
            looked_up_unix_ms = window.opens_unix_ms + self._delay_ms if is_price else window.until_unix_ms
            dues.append(min(looked_up_unix_ms, window.until_unix_ms))
        return _Running(windows, tuple(dues), tuple(indices))


def _open_inputs(running: _Running, row: ContractRow | None) -> set[int]:
    """The inputs that an instance with this row waits for."""
    if row is None or not row.is_open:
        return set()
    return set(range(len(running.dues))).difference(number for number, _value in row.settled)
