"""A contract in plain English: who locks what, what is waited for, what is paid in which case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contracts.vm.bytecode import Kind, Parameter
from contracts.vm.language import syntax, typed
from contracts.vm.language.checker import TIME_MAX
from contracts.vm.language.typed import CheckedContract, Step, TypedBlock, Value, type_words
from contracts.vm.language.words import Words, duration_words, listed, number_words, ratio_words
from genesis.errors import violated


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence, `depth` levels in."""

    depth: int
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """What is said of one thing."""

    title: str
    lines: tuple[Line, ...]


_Awaited = syntax.ObserveDeclaration | syntax.ElectionDeclaration | syntax.MomentDeclaration


def explain(contract: CheckedContract) -> tuple[Section, ...]:
    """The contract in words, section by section; sections without content are left out."""
    return _Explainer(contract).sections()


class _Explainer:
    def __init__(self, contract: CheckedContract) -> None:
        self._contract = contract
        self._declarations = contract.text.declarations
        self._words = Words(frozenset(contract.parties))
        self._awaited = {each.name.text: each for each in self._declarations if isinstance(each, _Awaited)}

    def sections(self) -> tuple[Section, ...]:
        """In the order in which a reader asks."""
        contract = self._contract
        said = (
            ("What it is", _flat([contract.text.comment] if contract.text.comment else [])),
            ("Parties", _flat([_sentence(listed([self._words.party(each) for each in contract.parties]))])),
            ("Fixed when it starts", _flat([self._parameter(each) for each in contract.parameters])),
            (
                "Names for short",
                _flat([self._let(each) for each in self._declarations if isinstance(each, syntax.Let)]),
            ),
            ("Locked when it starts", _flat(self._locks() or ["Nothing."])),
            ("Waited for", _flat([self._wait(each) for each in self._awaited.values()])),
            ("What happens", tuple(self._block(contract.text.statements, contract.body, 0))),
            ("At the close", _flat([*self._rests()])),
        )
        return tuple(Section(title, lines) for title, lines in said if lines)

    # --- declarations -------------------------------------------------------------------------------------------------

    def _parameter(self, each: Parameter) -> str:
        assets = tuple(asset.name for asset in self._contract.assets)
        named = {Kind.BOOL: "yes or no", Kind.TIME: "a time"}
        what = named.get(each.type.kind, f"a {type_words(each.type, assets)}".replace("a money", "money,"))
        is_whole = each.type.kind is Kind.BOOL or (each.type.kind is Kind.TIME and each.high == TIME_MAX)
        limits = "" if is_whole else f", from {_amount(each, each.low)} to {_amount(each, each.high)}"
        return f"{each.name}: {what}{limits}."

    def _let(self, each: syntax.Let) -> str:
        return f"{each.name.text} is {self._words.of(each.value)}."

    def _locks(self) -> list[str]:
        written = [each for each in self._declarations if isinstance(each, syntax.LockDeclaration)]
        return [
            f"The {each.party.text} locks {self._money(each.amount, lock.amount)}."
            for each, lock in zip(written, self._contract.locks, strict=True)
        ]

    def _money(self, amount: syntax.Expression, value: Value) -> str:
        """How much of which asset."""
        asset = self._contract.assets[value.type.asset].name if value.type is not None else ""
        return f"{asset}: {self._words.of(amount)}"

    def _wait(self, each: _Awaited) -> str:
        if isinstance(each, syntax.MomentDeclaration):
            return f"{each.name.text} is a moment: {self._words.of(each.time)}."
        until = self._words.of(each.until)
        opens = self._words.of(each.opens)
        if isinstance(each, syntax.ElectionDeclaration):
            return self._election(each, opens, until)
        limits = f"from {number_words(each.limits.low)} to {number_words(each.limits.high)} ticks"
        if each.every is None:
            return (
                f"{each.name.text} is the price of {each.feed.text} at {opens}, {limits}. It must arrive before "
                f"{until}; from then on it is absent."
            )
        every = self._words.of(each.every)
        return (
            f"{each.name.text} is {each.count} prices of {each.feed.text}, the first at {opens}, the next ones every "
            f"{every}, each {limits}. All must arrive before {until}; otherwise they count as absent."
        )

    def _election(self, each: syntax.ElectionDeclaration, opens: str, until: str) -> str:
        party = self._words.party(each.party.text)
        low_high = each.limits
        choice = "yes or no" if low_high is None else f"{number_words(low_high.low)} to {number_words(low_high.high)}"
        said = f"{each.name.text} is chosen by {party} ({choice}), from {opens} until before {until}."
        deposit = next(one.deposit for one in self._contract.inputs if one.name == each.name.text)
        if each.deposit is not None and deposit is not None:
            chosen = "yes" if low_high is None else "more than 0"
            said += f" Who chooses {chosen} puts in {self._money(each.deposit, deposit)}."
        return said

    def _rests(self) -> Iterator[str]:
        for each in self._contract.assets:
            yield f"What is left of {each.name} goes to the {self._contract.parties[each.rest]}."

    # --- statements ---------------------------------------------------------------------------------------------------

    def _block(self, block: syntax.Block, steps: TypedBlock, depth: int) -> Iterator[Line]:
        for each, step in zip(block, steps.steps, strict=True):
            yield from self._statement(each, step, depth)

    def _inner(self, block: syntax.Block, steps: TypedBlock, depth: int) -> Iterator[Line]:
        yield from self._block(block, steps, depth) if block else (Line(depth, "Nothing is paid."),)

    def _statement(self, each: syntax.Statement, step: Step, depth: int) -> Iterator[Line]:
        match each, step:
            case syntax.Let(), typed.Naming():
                yield Line(depth, self._let(each))
            case syntax.Pay(), typed.Paying():
                receiver = self._words.bound(each.party)
                yield Line(depth, f"Pay to {receiver} {self._money(each.amount, step.amount)}.")
            case syntax.Close(), typed.Closing():
                yield Line(depth, "The contract closes.")
            case syntax.If(), typed.Branching():
                yield Line(depth, f"If {self._words.of(each.condition)}:")
                yield from self._inner(each.positive, step.positive, depth + 1)
                if each.negative:
                    yield Line(depth, "Otherwise:")
                    yield from self._block(each.negative, step.negative, depth + 1)
            case syntax.When(), typed.Waiting():
                yield from self._when(each, step, depth)
            case syntax.Wait(), typed.Pausing():
                yield Line(depth, f"Wait until {each.name.text}.")
            case _:
                violated("a statement and its typed form differ", line=each.at.line)

    def _when(self, each: syntax.When, step: typed.Waiting, depth: int) -> Iterator[Line]:
        declared = self._awaited[each.name.text]
        if isinstance(declared, syntax.MomentDeclaration):
            violated("a moment got past the checker into 'when'", line=each.at.line)
        until = self._words.of(declared.until)
        if isinstance(declared, syntax.ElectionDeclaration):
            heads = f"When the {declared.party.text} has chosen {each.name.text}:", f"If it has not by {until}:"
        elif declared.every is None:
            heads = f"When {each.name.text} has arrived:", f"If it has not by {until}:"
        else:
            heads = f"When all prices of {each.name.text} have arrived:", f"If one has not by {until}:"
        yield Line(depth, heads[0])
        yield from self._inner(each.arrived, step.arrived, depth + 1)
        yield Line(depth, heads[1])
        yield from self._inner(each.absent, step.absent, depth + 1)


def _flat(texts: list[str]) -> tuple[Line, ...]:
    return tuple(Line(0, each) for each in texts)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." if text.startswith("the ") else text + "."


def _amount(parameter: Parameter, value: int) -> str:
    if parameter.type.kind is Kind.TIME:
        return duration_words(value)
    return ratio_words(value) if parameter.type.kind is Kind.RATIO else f"{value:,}"
