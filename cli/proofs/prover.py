"""The claims about a program, each decided by the solver for all parameters and observations, or left undecided.

Claims, on every path (`contracts.vm.symbolic`):

1. ``no_shortfall``: no payment is negative, and each, with those before it, is at most what was locked and deposited
   by then.
2. ``conservation``: what the parties receive until the close is what they locked and deposited, asset by asset.
3. ``closes``: the path ends in a CLOSE, which leaves nothing in the pot.
4. ``can_start``: there are parameters with which an instance starts, so that the other claims are about something.

A counterexample is searched for by numbers first (`cli.proofs.scenarios`). Then each payment's bound is decided,
cheapest first: terms that stand on both sides fall away; then the readings of `cli.proofs.encoding`, LINEAR and REAL,
each without and with `cli.proofs.lemmas`; then EXACT, whose answer may be a counterexample. One query is bounded by
Z3's count of steps, which is the same on every machine, and all of them together by time. Boolean parameters are taken
apart into cases, as a formula in one case is simpler.

The second claim is decided without the first: there a payment is cut to what the pot holds, as the interpreter does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

import z3

from cli.proofs.encoding import Encoder, Reading, leaf_name
from cli.proofs.lemmas import lemmas
from cli.proofs.scenarios import Counterexample, Scenario, searched, shrunk, tried
from contracts.vm.bytecode import Kind, Op
from contracts.vm.intervals import Interval
from contracts.vm.symbolic import Deposit, Due, Outcome, Path, Symbolic, symbolic
from contracts.vm.terms import Term, cone
from contracts.vm.verifier import Verified

CASES_BITS_MAX: Final = 3
STEPS_MAX: Final = 4_000_000
"""Of one query: Z3's resource units; some seconds."""
QUERY_MS_MAX: Final = 30_000

CLAIMS: Final[Mapping[str, str]] = {
    "can_start": "there are parameters with which an instance starts",
    "no_shortfall": "no payment is negative, and together they never exceed what is locked and deposited",
    "conservation": "what the parties receive until the close is what they put in, asset by asset",
    "closes": "every path ends in a close that leaves nothing behind, whatever arrives or stays absent",
}


@dataclass(frozen=True)
class PaymentProof:
    """What was decided of the PAY at instruction `at`: `by` says how, or is empty where it is undecided."""

    at: int
    asset: int
    by: str


@dataclass(frozen=True)
class PathProof:
    """What was decided of one path, in one case of the boolean parameters."""

    case: Mapping[int, int]
    outcomes: Mapping[int, Outcome]
    branches: int
    payments: tuple[PaymentProof, ...]
    conserved: bool
    closed_at: int


@dataclass(frozen=True)
class Proof:
    """The result for the whole program.

    Attributes:
        ranges: Of the parameters, for which it holds.
        claims: By claim: ``proved``, ``refuted`` or ``unknown``.
        counterexample: Where a claim is refuted by numbers.
        paths: What was decided of each.
        paths_all: How many there are, in all cases.
    """

    ranges: tuple[Interval, ...]
    claims: Mapping[str, str]
    counterexample: Counterexample | None
    paths: tuple[PathProof, ...]
    paths_all: int

    @property
    def verdict(self) -> str:
        """``proved`` only if every claim is."""
        found = set(self.claims.values())
        return next((each for each in ("refuted", "unknown") if each in found), "proved")


def prove(
    verified: Verified,
    ranges: Mapping[int, Interval],
    deadline: float,
    begin: Callable[[int], Callable[[], None]],
) -> Proof:
    """Decide every claim.

    Args:
        verified: The program.
        ranges: Narrower ranges of some parameters, by number.
        deadline: By `time.monotonic`: what is not decided by then stays undecided.
        begin: Told how many paths there are; what it returns is called as each is decided.

    Raises:
        Rejected: As `symbolic` and `Symbolic.paths`.
    """
    whole = symbolic(verified, ranges)
    start, can_start = _start(whole, deadline)
    cases = [(case, symbolic(verified, {**ranges, **_fixed(case)})) for case in _cases(whole)]
    ways = [(case, of_case, tuple(of_case.paths())) for case, of_case in cases]
    paths_all = sum(len(paths) for _, _, paths in ways)
    claims = dict.fromkeys(CLAIMS, "unknown") | {"can_start": can_start}
    step = begin(paths_all)
    if can_start == "refuted":
        return Proof(whole.ranges, claims, None, (), paths_all)
    every_path = [path for _, _, paths in ways for path in paths]
    half_way = time.monotonic() + max(0.0, deadline - time.monotonic()) / 2
    found = searched(verified, whole.ranges, start, every_path, half_way)
    proofs: list[PathProof] = []
    for case, of_case, paths in ways:
        work = _Case(of_case, case, start, deadline, found)
        for path in paths:
            proofs.append(work.decided(path))
            step()
        found = work.counterexample
    return Proof(whole.ranges, claims | _claims(proofs, paths_all, found), found, tuple(proofs), paths_all)


def _claims(proofs: Sequence[PathProof], paths_all: int, found: Counterexample | None) -> dict[str, str]:
    # Every path was walked to its CLOSE before any was decided; that the pot is empty then is part of conservation.
    whole = len(proofs) == paths_all
    payments = whole and all(payment.by for each in proofs for payment in each.payments)
    conserved = whole and all(each.conserved for each in proofs)
    names = {"no_shortfall": payments, "conservation": conserved, "closes": conserved}
    claims = {name: "proved" if holds else "unknown" for name, holds in names.items()}
    return claims | ({found.claim: "refuted"} if found is not None else {})


def _cases(whole: Symbolic) -> Iterator[dict[int, int]]:
    """Every assignment of the first boolean parameters that are not fixed."""
    free = [
        number
        for number, (low, high) in enumerate(whole.ranges)
        if whole.verified.program.parameters[number].type.kind is Kind.BOOL and low < high
    ][:CASES_BITS_MAX]
    for values in product((0, 1), repeat=len(free)):
        yield dict(zip(free, values, strict=True))


def _fixed(case: Mapping[int, int]) -> dict[int, Interval]:
    return {number: (value, value) for number, value in case.items()}


def _start(whole: Symbolic, deadline: float) -> tuple[tuple[int, ...], str]:
    """Parameters with which an instance starts (else the lowest), and whether there are any."""
    encoder = Encoder(Reading.EXACT)
    solver = _solver(Reading.EXACT, deadline)
    solver.add(*_windows(whole, encoder), *encoder.facts)
    answer = solver.check()
    if answer != z3.sat:
        return tuple(low for low, _ in whole.ranges), "refuted" if answer == z3.unsat else "unknown"
    return tuple(_in_model(solver.model(), each, low) for each, (low, _) in _leaves(whole)), "proved"


def _leaves(whole: Symbolic) -> Iterator[tuple[Term, Interval]]:
    return zip(whole.parameters, whole.ranges, strict=True)


def _windows(whole: Symbolic, encoder: Encoder) -> list[Any]:
    """An instance starts only if each input ends after it opens; a moment has no end of its own."""
    found = []
    for each in whole.windows:
        opens, until = encoder.formula(each.opens), encoder.formula(each.until)
        found += [opens >= 0] if each.is_moment else [opens >= 0, opens < until]
    return found


def _solver(reading: Reading, deadline: float) -> Any:
    solver = z3.SolverFor("QF_NRA") if reading is Reading.REAL else z3.Solver()
    solver.set("rlimit", STEPS_MAX)
    left_ms = int((deadline - time.monotonic()) * 1_000)
    solver.set("timeout", max(1, min(QUERY_MS_MAX, left_ms)))
    solver.set("random_seed", 0)
    return solver


def _in_model(model: Any, leaf: Term, otherwise: int) -> int:
    """A parameter's or input's value; `otherwise` where the model does not need it."""
    if leaf.is_constant:
        return leaf.value
    value = model[(z3.Bool if leaf.is_bool else z3.Int)(leaf_name(leaf))]
    if value is None:
        return otherwise
    return int(z3.is_true(value)) if leaf.is_bool else int(value.as_long())


@dataclass
class _Case:
    """Decides paths in one case of the boolean parameters; bounds that were decided once are not asked again."""

    whole: Symbolic
    case: Mapping[int, int]
    start: Sequence[int]
    deadline: float
    counterexample: Counterexample | None = None
    known: dict[tuple[tuple[int, ...], ...], str] = field(default_factory=dict)
    conserving: dict[tuple[tuple[Deposit | Due, ...], tuple[int, ...]], bool] = field(default_factory=dict)

    def decided(self, path: Path) -> PathProof:
        """All claims on one path."""
        funds: list[list[Term]] = [[] for _ in self.whole.verified.program.assets]
        due: list[list[Term]] = [[] for _ in funds]
        for lock in self.whole.locks:
            funds[lock.asset].append(lock.amount)
        payments = []
        for movement in path.movements:
            if isinstance(movement, Deposit):
                funds[movement.asset].append(movement.amount)
                continue
            due[movement.asset].append(movement.amount)
            by = self._bounded(path, due[movement.asset], funds[movement.asset])
            payments.append(PaymentProof(movement.at, movement.asset, by))
        conserved = self._conserved(path)
        return PathProof(self.case, path.outcomes, len(path.conditions), tuple(payments), conserved, path.closed_at)

    def _conserved(self, path: Path) -> bool:
        """Paths that move the same money in the same order are alike here."""
        awaited = tuple(sorted(self.whole.deposits.keys() & path.outcomes.keys()))
        if (path.movements, awaited) not in self.conserving:
            decided = time.monotonic() < self.deadline and is_conserved(self.whole, path, self.deadline)
            self.conserving[path.movements, awaited] = decided
        return self.conserving[path.movements, awaited]

    def _bounded(self, path: Path, due: Sequence[Term], funds: Sequence[Term]) -> str:
        """How it was decided that what is due is at most what there is; empty where it is undecided."""
        if min(each.low for each in due) < 0:
            return ""
        more, less = _without_common(due, funds)
        if not more or sum(each.high for each in more) <= sum(each.low for each in less):
            return "identity" if not more else "ranges"
        signs = tuple(term.number * 2 + truth for term, truth in path.conditions)
        key = (tuple(each.number for each in more), tuple(each.number for each in less), signs)
        if key not in self.known:
            self.known[key] = self._solved(path, more, less)
        return self.known[key]

    def _solved(self, path: Path, more: Sequence[Term], less: Sequence[Term]) -> str:
        everything = path.conditions
        relevant = _relevant(path, [*more, *less])
        for reading, with_lemmas, conditions in (
            (Reading.LINEAR, False, everything),
            (Reading.REAL, False, relevant),
            (Reading.LINEAR, True, everything),
            (Reading.REAL, True, relevant),
            (Reading.REAL, False, everything),
            (Reading.EXACT, False, everything),
        ):
            if time.monotonic() >= self.deadline or self.counterexample is not None:
                return ""
            encoder, solver = Encoder(reading), _solver(reading, self.deadline)
            solver.add(encoder.total(more) >= encoder.total(less) + 1)
            solver.add(*(encoder.formula(term) == truth for term, truth in conditions))
            if reading is Reading.EXACT:
                solver.add(*_windows(self.whole, encoder))
            if with_lemmas:
                solver.add(*lemmas(encoder))
            solver.add(*encoder.facts)
            answer = solver.check()
            if answer == z3.unsat:
                return reading.value + (" with lemmas" if with_lemmas else "")
            if answer == z3.sat and reading is Reading.EXACT:
                self._refuted(path, solver.model())
        return ""

    def _refuted(self, path: Path, model: Any) -> None:
        """Take the solver's values to the interpreter."""
        program = self.whole.verified.program
        parameters = tuple(
            _in_model(model, leaf, start) for leaf, start in zip(self.whole.parameters, self.start, strict=True)
        )
        settled: dict[int, int | None] = {}
        for number, outcome in path.outcomes.items():
            declared = program.inputs[number]
            is_bool = declared.type.kind is Kind.BOOL
            low = max(1, declared.low) if number in self.whole.deposits else declared.low
            leaf = Term(Op.INPUT, (), number, is_bool, low, declared.high, 0)
            value = 1 if is_bool else _in_model(model, leaf, low)
            settled[number] = {Outcome.ABSENT: None, Outcome.DECLINED: 0, Outcome.ARRIVED: value}[outcome]
        found = tried(self.whole.verified, Scenario(parameters, settled))
        if found is not None:
            self.counterexample = shrunk(self.whole.verified, self.whole.ranges, found, self.deadline)


def _relevant(path: Path, terms: Sequence[Term]) -> Sequence[tuple[Term, bool]]:
    """The conditions that share an unknown with `terms`, directly or through each other: with fewer it is faster.

    The others can still help, as a path on which they contradict each other is none.
    """
    known = _unknowns(terms)
    kept: list[tuple[Term, bool]] = []
    open_conditions = list(path.conditions)
    while True:
        near = [each for each in open_conditions if known & _unknowns([each[0]])]
        if not near:
            return kept
        kept += near
        open_conditions = [each for each in open_conditions if each not in near]
        known |= _unknowns([each[0] for each in near])


def _unknowns(terms: Sequence[Term]) -> set[tuple[int, int]]:
    return {(int(each.op), each.value) for each in cone(terms) if each.op in (Op.PARAM, Op.INPUT)}


def _without_common(more: Sequence[Term], less: Sequence[Term]) -> tuple[list[Term], list[Term]]:
    """Both sides without the terms that stand on both."""
    kept: list[Term] = []
    rest = list(less)
    for term in more:
        if term in rest:
            rest.remove(term)
        else:
            kept.append(term)
    return kept, rest


def is_conserved(whole: Symbolic, path: Path, deadline: float) -> bool:
    """Whether the parties receive what came in, and the close leaves nothing. Amounts are any that are not negative."""
    program = whole.verified.program
    parties, assets = range(len(program.parties)), range(len(program.assets))
    encoder = _Amounts()
    pot: list[Any] = [z3.IntVal(0) for _ in assets]
    came: list[Any] = [z3.IntVal(0) for _ in assets]
    received: list[list[Any]] = [[z3.IntVal(0) for _ in parties] for _ in assets]

    def enter(asset: int, amount: Any) -> None:
        pot[asset], came[asset] = pot[asset] + amount, came[asset] + amount

    def pay(asset: int, party: Any, amount: Any) -> None:
        paid = z3.If(amount <= pot[asset], amount, pot[asset])
        pot[asset] = pot[asset] - paid
        for each in parties:
            received[asset][each] += z3.If(party == each, paid, 0)

    for lock in whole.locks:
        enter(lock.asset, encoder.amount(lock.amount))
    for movement in path.movements:
        if isinstance(movement, Due):
            pay(movement.asset, encoder.amount(movement.party), encoder.amount(movement.amount))
        else:
            enter(movement.asset, encoder.amount(movement.amount))
    for number, deposit in whole.deposits.items():
        if number not in path.outcomes:
            # Elected, but never awaited: it goes back to whom it came from.
            amount = z3.If(z3.Bool(f"elected_{number}"), encoder.amount(deposit.amount), 0)
            came[deposit.asset] += amount
            received[deposit.asset][program.inputs[number].source] += amount
    for asset in assets:
        pay(asset, z3.IntVal(program.assets[asset].rest), pot[asset])
    holds = [z3.And(pot[asset] == 0, came[asset] == sum(received[asset])) for asset in assets]
    solver = _solver(Reading.LINEAR, deadline)
    solver.add(*encoder.facts, z3.Not(z3.And(*holds)))
    return bool(solver.check() == z3.unsat)


class _Amounts:
    """Each term an unknown of its own within its range: which value it has is of no account here."""

    def __init__(self) -> None:
        self.facts: list[Any] = []

    def amount(self, term: Term) -> Any:
        """The unknown of `term`; a constant is itself."""
        if term.is_constant:
            return z3.IntVal(term.value)
        unknown = z3.Int(f"amount_{term.number}")
        self.facts += [unknown >= term.low, unknown <= term.high]
        return unknown
