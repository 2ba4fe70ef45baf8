"""The governance of a simulated market: validators propose changes of their set and approve them, members put bonds
behind them, and whoever finds evidence hands it in. All of it through the operations of `contracts`.

Rules:

1. What is asked for rests on the newest state that any replica has come to, as an operator would look it up. By the
   time it is executed it may no longer fit; then the state machine refuses it.
2. One change is under way at a time, and none is proposed that breaks the account of f (`node.simulator.cast`) or
   leaves fewer than `SET_MIN`. A jailing on top of it takes out charged power alone, so the account holds after it too.
3. Evidence is handed in until the state would not take it any more: punished, or too old.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from contracts.changes import Members, plan, without_jailed
from contracts.governance import approved_changes
from contracts.offences import refusal_of
from contracts.operations import build_operation, wire_of
from contracts.operations_governance import Change
from contracts.state import State
from genesis.document import GenesisValidator
from genesis.evidence import Evidence, encode_evidence
from genesis.signing import SigningKey
from node.simulator.cast import Cast
from node.simulator.schedule import SET_MAX, SET_MIN, draw_change, operator_of
from node.simulator.signatures import Signatures

SIGNERS_MAX: Final = 4
EVIDENCE_KEPT_MAX: Final = 64
BONDS: Final = 0.2
BOND_MINOR: Final = 1_000_000
SPEAKS: Final = 0.3
"""The share of batches that hold something of governance."""

Asked = tuple[list[SigningKey], tuple[Any, ...]]
"""Who signs, and the operation."""


class Governance:
    """What validators and those who watch them ask for next.

    Args:
        chance: The run's.
        signatures: The keys of all operators.
        cast: Who is charged.
        operators: How many there are.
        member: A member's name and key; it deposits, and hands evidence in.
    """

    def __init__(
        self, chance: Random, signatures: Signatures, cast: Cast, operators: int, member: tuple[str, SigningKey]
    ) -> None:
        self._chance = chance
        self._signatures = signatures
        self._charged = {operator for operator, _ in cast.roles}
        self._operators = operators
        self._member, self._member_key = member
        self._generations = [0] * operators
        self._evidence: dict[bytes, Evidence] = {}

    def accuse(self, evidence: Evidence) -> None:
        """A replica has found this."""
        if len(self._evidence) < EVIDENCE_KEPT_MAX:
            self._evidence.setdefault(evidence.id, evidence)

    def next_operation(self, state: State) -> Asked | None:
        """Something to ask for now, or nothing."""
        if self._chance.random() >= SPEAKS:
            return None
        self._evidence = {name: each for name, each in self._evidence.items() if not refusal_of(state, each)}
        if self._evidence:
            wire = encode_evidence(next(iter(self._evidence.values())))
            return [self._member_key], build_operation("evidence.submit", {"evidence": wire.hex()})
        if self._chance.random() < BONDS:
            return self._bond(state)
        return self._approval(state) or self._proposal(state)

    def _bond(self, state: State) -> Asked:
        behind = self._chance.choice(state.standing.validators).name
        fields = {"validator": behind, "account": f"{self._member}/main", "asset": "BTC", "amount_minor": BOND_MINOR}
        return [self._member_key], build_operation("bond.deposit", {name: str(each) for name, each in fields.items()})

    def _approval(self, state: State) -> Asked | None:
        """By those who have not approved what is open."""
        for identity, row in sorted(state.proposals.rows.items()):
            lacking = [each for each in _able(state) if each.name not in row.approvals]
            if not row.place and lacking:
                return self._signers(lacking), build_operation("governance.approve", {"proposal": identity.hex()})
        return None

    def _proposal(self, state: State) -> Asked | None:
        """Rule 2."""
        if state.proposals.rows or approved_changes(state):
            return None
        present = state.standing.validators
        change = draw_change(present, self._operators, self._generations, self._signatures.public_key, self._chance)
        return (self._signers(_able(state)), wire_of(change)) if self._may_be(state, change) else None

    def _may_be(self, state: State, change: Change) -> bool:
        planned = plan(state.standing.validators, state.jail.rows, [change], SET_MAX)
        return not planned.dropped and len(planned.members) >= SET_MIN and self._is_accounted(planned.members)

    def _is_accounted(self, members: Members) -> bool:
        charged = sum(each.power for each in members if operator_of(each) in self._charged)
        return 3 * charged < sum(each.power for each in members)

    def _signers(self, members: Sequence[GenesisValidator]) -> list[SigningKey]:
        strongest = sorted(members, key=lambda each: -each.power)[:SIGNERS_MAX]
        return [self._signatures.signing_key(each.public_key) for each in strongest]


def _able(state: State) -> Members:
    """Who may decide."""
    return without_jailed(state.standing.validators, state.jail.rows)
