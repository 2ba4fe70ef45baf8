"""What each member has in the state by way of contracts, and what of it is to leave: computed from rows, never stored.

Rules:

1. A contract in the state, open or closed, counts once for each member that is a party, with all of its inputs.
2. A program counts once for each member that holds it, and for each party of a contract of it in the state: with its
   bytes, but `PROGRAM_BYTES_LEAST` at least.
3. No member comes to have more than `contracts_per_member_max`, `contract_inputs_per_member_max` and
   `program_bytes_per_member_max`. What one member has takes nothing from another but places of names
   (`contracts.buckets`), and nobody is made to have anything without its signature.

As in `contracts.derived`, the counts follow their tables as watchers. They need the programs' rows, which therefore
come first and go last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

from sortedcontainers import SortedList

from contracts.tables import ContractRow, HolderRow, ProgramRow, Table
from genesis.errors import Rejected
from genesis.params import ChainParams

PROGRAM_BYTES_LEAST: Final = 1_024
"""What a row takes in memory, however short the program."""

HolderKey = tuple[bytes, str]
"""(program, member)."""

K = TypeVar("K")


class Share(NamedTuple):
    """What a member has in the state."""

    contracts: int
    inputs: int
    program_bytes: int


class Holdings:
    """The derived counts of one state.

    Args:
        programs: Their table.

    Attributes:
        holders_of: The members that hold a program.
    """

    __slots__ = (
        "_closed",
        "_contracts_of",
        "_inputs_of",
        "_needs",
        "_program_bytes_of",
        "_programs",
        "_runs_of",
        "holders_of",
    )

    def __init__(self, programs: Table[bytes, ProgramRow]) -> None:
        self._programs = programs
        self.holders_of: dict[bytes, set[str]] = {}
        self._contracts_of: Counter[str] = Counter()
        self._inputs_of: Counter[str] = Counter()
        self._program_bytes_of: Counter[str] = Counter()
        self._needs: Counter[HolderKey] = Counter()
        """How often a member needs a program: once because it holds it, and once for each contract."""
        self._runs_of: Counter[bytes] = Counter()
        self._closed: SortedList[tuple[int, str]] = SortedList()

    def on_contract(self, contract: str, before: ContractRow | None, after: ContractRow | None) -> None:
        """Watch the contracts; who is a party of what never changes."""
        if before is not None and not before.is_open:
            self._closed.remove((before.closed_height, contract))
        if after is not None and not after.is_open:
            self._closed.add((after.closed_height, contract))
        row = after or before
        if row is None or (before is not None and after is not None):
            return
        change = 1 if after is not None else -1
        inputs = self._programs.rows[row.program_id].inputs
        for member in parties(row.accounts):
            _add(self._contracts_of, member, change)
            _add(self._inputs_of, member, change * inputs)
            self._need(member, row.program_id, change)
        _add(self._runs_of, row.program_id, change)

    def on_holder(self, key: HolderKey, before: HolderRow | None, after: HolderRow | None) -> None:
        """Watch the programs' holders."""
        program_id, member = key
        if before is None and after is not None:
            self.holders_of.setdefault(program_id, set()).add(member)
            self._need(member, program_id, 1)
        elif before is not None and after is None:
            holders = self.holders_of[program_id]
            holders.remove(member)
            if not holders:
                del self.holders_of[program_id]
            self._need(member, program_id, -1)

    def _need(self, member: str, program_id: bytes, change: int) -> None:
        key = program_id, member
        needed = self._needs[key]
        _add(self._needs, key, change)
        if not needed or key not in self._needs:
            _add(self._program_bytes_of, member, change * counted_bytes(self._programs.rows[program_id].encoded))

    def share(self, member: str) -> Share:
        """What a member has."""
        return Share(self._contracts_of[member], self._inputs_of[member], self._program_bytes_of[member])

    def needs(self, member: str, program_id: bytes) -> bool:
        """Whether a program counts for a member already."""
        return (program_id, member) in self._needs

    def runs(self, program_id: bytes) -> int:
        """How many contracts of a program there are, open and closed."""
        return self._runs_of[program_id]

    def is_needed(self, program_id: bytes) -> bool:
        """Whether somebody holds a program, or a contract is of it."""
        return program_id in self.holders_of or program_id in self._runs_of

    def closed_until(self, height: int) -> Iterator[str]:
        """Contracts that closed at or below a height, in the order in which they did; those of one block by name."""
        return (name for _height, name in self._closed.irange((0, ""), (height + 1, ""), (True, False)))


def pot_account(contract: str) -> str:
    """The account that holds what an instance has locked; no member can own one of this form."""
    return f"@contract/{contract}"


def parties(accounts: tuple[str, ...]) -> list[str]:
    """The members that own these accounts, each once, ascending; an account is written MEMBER/NAME."""
    return sorted({account.partition("/")[0] for account in accounts})


def counted_bytes(encoded: bytes) -> int:
    """Rule 2."""
    return max(len(encoded), PROGRAM_BYTES_LEAST)


def require_room(limits: ChainParams, holdings: Holdings, member: str, more: Share) -> None:
    """Refuse what would give a member more than its share (rule 3).

    Raises:
        Rejected: ``limit_reached``, with the member, what it has, what would be added and the limit.
    """
    most = Share(
        limits.contracts_per_member_max, limits.contract_inputs_per_member_max, limits.program_bytes_per_member_max
    )
    for what, has, adds, count_max in zip(Share._fields, holdings.share(member), more, most, strict=True):
        if has + adds > count_max:
            raise Rejected(
                "limit_reached",
                f"The member has no room for so many {what.replace('_', ' ')} more.",
                member=member,
                has=has,
                adds=adds,
                count_max=count_max,
            )


def _add(counts: Counter[K], key: K, change: int) -> None:
    """Change a count; one of nothing has no entry."""
    counts[key] += change
    if not counts[key]:
        del counts[key]
