"""Stored programs as an interpreter reads them: those that were used last, within a bound of memory.

A program in memory takes fifty times its encoding, and to read one costs as much as to store it. So the last ones are
kept, and a block pays for reading each that it uses once, whether or not it was there (`contracts.metering`): what is
in a node's memory is no part of the state, and must not show in it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from contracts.tables import ProgramRow, Table
from contracts.vm.bytecode import decode_program
from contracts.vm.verifier import Verified, verify

ENCODED_BYTES_MAX: Final = 2**22
"""Of all that are kept together, in their encodings: about 200 MiB as they are in memory."""


class StoredPrograms:
    """Reads programs of the state.

    Args:
        programs: Their table.
        gas_max: The chain's limit for a program.
    """

    __slots__ = ("_bytes", "_gas_max", "_kept", "_programs")

    def __init__(self, programs: Table[bytes, ProgramRow], gas_max: int) -> None:
        self._programs = programs
        self._gas_max = gas_max
        self._kept: OrderedDict[bytes, tuple[Verified, int]] = OrderedDict()
        self._bytes = 0

    @property
    def in_memory(self) -> int:
        """How many programs are kept at present."""
        return len(self._kept)

    def verified(self, program_id: bytes) -> Verified:
        """The stored program of this id."""
        known = self._kept.get(program_id)
        if known is not None:
            self._kept.move_to_end(program_id)
            return known[0]
        encoded = self._programs.rows[program_id].encoded
        verified = verify(decode_program(encoded), self._gas_max)
        self.remember(program_id, verified, len(encoded))
        return verified

    def remember(self, program_id: bytes, verified: Verified, encoded_bytes: int) -> None:
        """Keep what somebody has read already, and let those go that nobody has used for longest."""
        if program_id in self._kept:
            return
        self._kept[program_id] = verified, encoded_bytes
        self._bytes += encoded_bytes
        while self._bytes > ENCODED_BYTES_MAX:
            _program_id, (_verified, gone_bytes) = self._kept.popitem(last=False)
            self._bytes -= gone_bytes
