"""What a transaction may ask for where contracts are concerned: store or remove a program, start an instance, elect.

Records like those of `contracts.operations`, which says how they are written.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreProgram:
    """Member: store a program (docs/CONTRACTS.md, section 2) that passes the checks of section 3, and hold it."""

    program: bytes


@dataclass(frozen=True, slots=True)
class RemoveProgram:
    """Member that holds the program `program`, an id: give it up; it leaves when nobody needs it any more."""

    program: bytes


@dataclass(frozen=True, slots=True)
class StartContract:
    """All parties' members together: start an instance of a stored program; every lock is taken at once.

    Attributes:
        contract: The instance's name.
        program: The program's id.
        accounts, assets, feeds: What stands for the program's parties, assets and feeds (indices), in its order.
        parameters: In the program's order: signed integers.
    """

    contract: str
    program: bytes
    accounts: tuple[str, ...]
    assets: tuple[str, ...]
    feeds: tuple[str, ...]
    parameters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ElectContract:
    """The electing party's member: settle one election of an instance; 1 is true, 0 false. A deposit is paid in."""

    contract: str
    election: str
    value: int
