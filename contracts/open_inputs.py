"""What follows from stored programs and running instances and is never stored: verified programs, and what is due when.

As in `contracts.derived`, it follows its tables as a watcher. Rows are looked into when somebody asks, because at
start-up an instance may be loaded before its program.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from contracts.tables import ContractRow, ProgramRow, Table
from contracts.vm.bytecode import InputKind, decode_program
from contracts.vm.interpreter import Terms, terms
from contracts.vm.verifier import Verified, verify

Due = tuple[int, str, int]
"""(unix_ms, contract, input): from then on the system step looks at an open input."""


class OpenInputs:
    """The derived side of contracts.

    Args:
        gas_max: The chain's limit for a program.
        delay_ms: How long after its instant a price is looked up.
    """

    __slots__ = (
        "_changed",
        "_dues",
        "_dues_of",
        "_gas_max",
        "_instants",
        "_instants_of",
        "_programs",
        "_rows",
        "_verified",
        "delay_ms",
        "live",
    )

    def __init__(self, gas_max: int, delay_ms: int) -> None:
        self.delay_ms = delay_ms
        self.live = 0
        self._gas_max = gas_max
        self._verified: dict[bytes, Verified] = {}
        self._changed: dict[str, None] = {}
        self._dues: list[Due] = []
        self._dues_of: dict[str, list[Due]] = {}
        self._instants: dict[str, list[Due]] = {}
        self._instants_of: dict[str, list[tuple[str, Due]]] = {}

    def watch(self, programs: Table[bytes, ProgramRow], rows: Table[str, ContractRow]) -> None:
        """Follow these two tables."""
        self._programs, self._rows = programs, rows
        programs.watch(self._on_program)
        rows.watch(self._on_contract)

    def _on_program(self, program_id: bytes, _before: ProgramRow | None, after: ProgramRow | None) -> None:
        if after is None:
            self._verified.pop(program_id, None)

    def _on_contract(self, contract: str, before: ContractRow | None, after: ContractRow | None) -> None:
        self._changed[contract] = None
        self.live += (after is not None and after.is_open) - (before is not None and before.is_open)

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

    def terms(self, row: ContractRow) -> Terms:
        """The locks and windows of an instance."""
        return terms(self.verified(row.program_id), row.parameters)

    def due(self, time_unix_ms: int) -> list[Due]:
        """The open inputs that a block of that time looks at, the earliest first."""
        self._look_into_changes()
        return self._dues[: bisect_left(self._dues, (time_unix_ms + 1, "", 0))]

    def first_instant_unix_ms(self, index: str, otherwise: int) -> int:
        """The earliest instant at which an open input needs the price of `index`, if before `otherwise`."""
        self._look_into_changes()
        instants = self._instants.get(index)
        return min(otherwise, instants[0][0]) if instants else otherwise

    def _look_into_changes(self) -> None:
        for contract in self._changed:
            for due in self._dues_of.pop(contract, ()):
                del self._dues[bisect_left(self._dues, due)]
            for index, needed in self._instants_of.pop(contract, ()):
                del self._instants[index][bisect_left(self._instants[index], needed)]
            row = self._rows.rows.get(contract)
            if row is not None and row.is_open:
                self._look_into(contract, row)
        self._changed.clear()

    def _look_into(self, contract: str, row: ContractRow) -> None:
        dues: list[Due] = []
        needs: list[tuple[str, Due]] = []
        self._dues_of[contract], self._instants_of[contract] = dues, needs
        for due, index, instant in self._open_inputs(contract, row):
            dues.append(due)
            insort(self._dues, due)
            if index:
                needed = (instant, contract, due[2])
                needs.append((index, needed))
                insort(self._instants.setdefault(index, []), needed)

    def _open_inputs(self, contract: str, row: ContractRow) -> Iterator[tuple[Due, str, int]]:
        """Each open input's due, and for a price its index and instant."""
        program, settled = self.verified(row.program_id).program, dict(row.settled)
        for number, (each, window) in enumerate(zip(program.inputs, self.terms(row).windows, strict=True)):
            if number in settled:
                continue
            if each.kind is not InputKind.PRICE:
                yield (window.until_unix_ms, contract, number), "", 0
            else:
                due_unix_ms = min(window.opens_unix_ms + self.delay_ms, window.until_unix_ms)
                yield (due_unix_ms, contract, number), row.feeds[each.source], window.opens_unix_ms
