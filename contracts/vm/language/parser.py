"""From tokens to a syntax tree: recursive descent, one token ahead (docs/CONTRACTS.md, section 1).

Rules:

1. Line ends mean nothing; every declaration and statement begins with a word of its own.
2. Declarations stand before statements. A ``let`` before the first statement is a declaration.
3. Brackets, blocks, choices and signs nest at most `DEPTH_MAX` deep, counted before the parser descends.

Operators, loosest first: ``or``, ``and``, ``not``, comparisons (which do not chain), ``+ -``, ``* /`` with their
``round``, a sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn, TypeVar

from contracts.vm.bytecode import Rounding
from contracts.vm.language import syntax
from contracts.vm.language.lexer import At, Sort, Token, fault, opening_comment, source_text, tokens_of
from contracts.vm.language.spelling import did_you_mean

DEPTH_MAX: Final = 48

ROUNDINGS: Final = {"down": Rounding.DOWN, "up": Rounding.UP, "half_even": Rounding.HALF_EVEN}
_COMPARISONS: Final = frozenset(["<", "<=", ">", ">=", "==", "!="])
_OR, _AND, _COMPARISON, _SUM, _PRODUCT = range(5)
_LEVELS: Final = {
    "or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT,
    "<": _COMPARISON, "<=": _COMPARISON, ">": _COMPARISON, ">=": _COMPARISON, "==": _COMPARISON, "!=": _COMPARISON,
}  # fmt: skip
_FOLDS: Final = frozenset(["min", "max", "mean", "first", "last"])
_TYPES: Final = ("bool", "time", "quantity", "price", "money", "ratio")
_UNITS: Final = {
    Sort.NUMBER: syntax.Unit.BARE,
    Sort.DURATION: syntax.Unit.DURATION,
    Sort.RATIO: syntax.Unit.RATIO,
}

Declared = TypeVar("Declared")


def parse_contract(source: bytes) -> syntax.ContractText:
    """The syntax tree of a contract's text.

    Args:
        source: The file's bytes, UTF-8.

    Raises:
        Rejected: ``source_too_large``, ``bad_text``, ``bad_syntax`` or ``too_deep``, with ``line``, ``column`` and
            ``length`` of what is wrong (only a text that is too large has none).
    """
    text = source_text(source)
    return _Parser(tokens_of(text)).contract(opening_comment(text))


class _Cursor:
    """The tokens, and where the reader is."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._position]

    def _take(self) -> Token:
        taken = self._next
        if taken.sort is not Sort.END:
            self._position += 1
        return taken

    def _is(self, *texts: str) -> bool:
        return self._next.sort in (Sort.WORD, Sort.SIGN) and self._next.text in texts

    def _taken(self, text: str) -> bool:
        """Whether this word or sign comes next; if so it is taken."""
        found = self._is(text)
        if found:
            self._take()
        return found

    def _need(self, text: str) -> Token:
        if not self._is(text):
            self._refuse(f"'{text}'", did_you_mean(self._next.text, [text]))
        return self._take()

    def _refuse(self, expected: str, hint: str = "") -> NoReturn:
        found = self._next
        raise fault("bad_syntax", f"Expected {expected}, found {found}.{hint}", found.at)

    def _name(self, expected: str) -> syntax.Identifier:
        if self._next.sort is not Sort.NAME:
            taken = self._next.sort is Sort.WORD
            self._refuse(expected, " It is a word of the language; choose another name." if taken else "")
        token = self._take()
        return syntax.Identifier(token.at, token.text)

    def _nested(self, inner: Callable[[], Declared]) -> Declared:
        """What `inner` reads, one level deeper."""
        if self._depth >= DEPTH_MAX:
            message = "Brackets, blocks and choices are nested too deep; give parts of it a name with 'let'."
            raise fault("too_deep", message, self._next.at, depth_max=DEPTH_MAX)
        self._depth += 1
        found = inner()
        self._depth -= 1
        return found

    def _since(self, start: At) -> At:
        """From `start` to the last token taken, as far as it is on the same line."""
        end = self._tokens[self._position - 1].at
        return At(start.line, start.column, end.column + end.length - start.column) if end.line == start.line else start


class _Expressions(_Cursor):
    """Reads expressions."""

    def _expression(self) -> syntax.Expression:
        return self._nested(self._choice_or_operators)

    def _choice_or_operators(self) -> syntax.Expression:
        start = self._next.at
        if not self._taken("if"):
            return self._operators(_OR)
        condition = self._expression()
        self._need("then")
        positive = self._expression()
        self._need("else")
        negative = self._expression()
        return syntax.Choice(self._since(start), condition, positive, negative)

    def _operators(self, loosest: int) -> syntax.Expression:
        """Operands joined by operators that bind at least as tight as `loosest`."""
        left = self._signed()
        while True:
            level = _LEVELS.get(self._next.text, -1) if self._next.sort in (Sort.WORD, Sort.SIGN) else -1
            is_rounded = self._is("round")
            if is_rounded:
                level = _PRODUCT
            if level < loosest:
                return left
            if level == _PRODUCT:
                left = self._product(left)
            elif level == _SUM:
                left = self._sum(left)
            elif level == _COMPARISON:
                left = self._comparison(left)
            else:
                left = self._logic(left, level)

    def _logic(self, left: syntax.Expression, level: int) -> syntax.Expression:
        operator = self._next.text
        parts = [left]
        while self._taken(operator):
            parts.append(self._operators(level + 1))
        return syntax.Logic(self._since(left.at), operator, tuple(parts))

    def _comparison(self, left: syntax.Expression) -> syntax.Expression:
        operator = self._take().text
        right = self._operators(_SUM)
        if self._is(*_COMPARISONS):
            self._refuse("the end of the comparison", " Join two comparisons with 'and'.")
        return syntax.Comparison(self._since(left.at), operator, left, right)

    def _sum(self, left: syntax.Expression) -> syntax.Expression:
        terms, is_minus = [left], [False]
        while self._is("+", "-"):
            is_minus.append(self._take().text == "-")
            terms.append(self._operators(_PRODUCT))
        return syntax.Sum(self._since(left.at), tuple(terms), tuple(is_minus))

    def _product(self, left: syntax.Expression) -> syntax.Expression:
        factors, divisor = [left], None
        while self._taken("*"):
            factors.append(self._signed())
        if self._taken("/"):
            divisor = self._signed()
        rounding = self._rounding()
        if self._is("*", "/", "round"):
            hint = " One division ends a product, and one rounding a division: put it in brackets to go on."
            self._refuse("the end of the product", hint)
        return syntax.Product(self._since(left.at), tuple(factors), divisor, rounding)

    def _rounding(self) -> Rounding | None:
        if not self._taken("round"):
            return None
        if not self._is(*ROUNDINGS):
            self._refuse("how to round: 'down', 'up' or 'half_even'")
        return ROUNDINGS[self._take().text]

    def _signed(self) -> syntax.Expression:
        start = self._next.at
        if self._taken("-"):
            of = self._nested(self._signed)
            return syntax.Negation(self._since(start), of)
        if self._taken("not"):
            of = self._nested(lambda: self._operators(_COMPARISON))
            return syntax.Not(self._since(start), of)
        return self._operand()

    def _operand(self) -> syntax.Expression:
        token = self._next
        if token.sort in _UNITS:
            return self._number()
        if token.sort is Sort.NAME:
            self._take()
            return syntax.Name(token.at, token.text)
        if self._is("true", "false"):
            self._take()
            return syntax.Truth(token.at, token.text == "true")
        if self._is(*_FOLDS):
            return self._fold()
        if self._taken("("):
            inside = self._expression()
            self._need(")")
            return inside
        return self._refuse("a value", " Put the choice in brackets." if self._is("if") else "")

    def _number(self) -> syntax.Number:
        token = self._take()
        unit = _UNITS[token.sort]
        if unit is syntax.Unit.BARE and self._taken("ticks"):
            unit = syntax.Unit.TICKS
        return syntax.Number(self._since(token.at), token.value, unit)

    def _fold(self) -> syntax.Expression:
        word = self._take()
        self._need("(")
        arguments = [self._expression()]
        while self._taken(","):
            arguments.append(self._expression())
        self._need(")")
        rounding = self._rounding() if word.text == "mean" else None
        return syntax.Fold(self._since(word.at), word.text, tuple(arguments), rounding)


class _Statements(_Expressions):
    """Reads statements and blocks."""

    def _block(self) -> syntax.Block:
        self._need("{")
        statements = self._nested(self._statements)
        self._need("}")
        return statements

    def _statements(self) -> syntax.Block:
        found: list[syntax.Statement] = []
        readers: dict[str, Callable[[], syntax.Statement]] = {
            "let": self._let,
            "when": self._when,
            "wait": self._wait,
            "if": self._if,
            "pay": self._pay,
            "close": self._close,
        }
        while self._is(*readers):
            found.append(readers[self._next.text]())
        return tuple(found)

    def _let(self) -> syntax.Let:
        start = self._need("let").at
        name = self._name("a name for the value")
        of = self._type() if self._taken(":") else None
        self._need("=")
        value = self._expression()
        return syntax.Let(self._since(start), name, of, value)

    def _when(self) -> syntax.When:
        start = self._need("when").at
        name = self._name("the name of an observation or election")
        self._need("arrives")
        head = self._since(start)
        arrived = self._block()
        self._need("timeout")
        return syntax.When(head, name, arrived, self._block())

    def _wait(self) -> syntax.Wait:
        start = self._need("wait").at
        self._need("until")
        name = self._name("the name of a moment")
        return syntax.Wait(self._since(start), name)

    def _if(self) -> syntax.If:
        start = self._need("if").at
        condition = self._expression()
        head = self._since(start)
        positive = self._block()
        negative = self._block() if self._taken("else") else ()
        return syntax.If(head, condition, positive, negative)

    def _pay(self) -> syntax.Pay:
        start = self._need("pay").at
        amount = self._expression()
        self._need("to")
        party = self._expression()
        return syntax.Pay(self._since(start), amount, party)

    def _close(self) -> syntax.Close:
        return syntax.Close(self._need("close").at)

    def _type(self) -> syntax.TypeName:
        if not self._is(*_TYPES):
            self._refuse(f"a type ({', '.join(_TYPES)})", did_you_mean(self._next.text, _TYPES))
        word = self._take()
        asset = self._name("the asset of the money") if word.text == "money" else None
        return syntax.TypeName(self._since(word.at), word.text, asset)


class _Parser(_Statements):
    """Reads declarations, and so the whole."""

    def contract(self, comment: str) -> syntax.ContractText:
        """The whole text, with nothing left over."""
        self._need("contract")
        name = self._name("the contract's name")
        declarations = self._declarations()
        statements = self._statements()
        if self._next.sort is not Sort.END:
            self._refuse_beginning(bool(statements))
        return syntax.ContractText(name, comment, declarations, statements)

    def _declarations(self) -> tuple[syntax.Declaration, ...]:
        found: list[syntax.Declaration] = []
        readers = self._readers
        while self._is(*readers):
            found.append(readers[self._next.text]())
        return tuple(found)

    @property
    def _readers(self) -> dict[str, Callable[[], syntax.Declaration]]:
        return {
            "party": self._party,
            "asset": self._asset,
            "feed": self._feed,
            "parameter": self._parameter,
            "let": self._let,
            "lock": self._lock,
            "observe": self._observe,
            "election": self._election,
            "moment": self._moment,
        }

    def _refuse_beginning(self, after_statements: bool) -> NoReturn:
        if after_statements and self._is(*self._readers):
            self._refuse("a statement", " Declarations stand before the first statement.")
        statements = ["let", "when", "wait", "if", "pay", "close"]
        words = statements if after_statements else [*self._readers, *statements[1:]]
        what = "a statement" if after_statements else "a declaration or a statement"
        self._refuse(f"{what} ({', '.join(words)})", did_you_mean(self._next.text, words))

    def _party(self) -> syntax.PartyDeclaration:
        self._take()
        return syntax.PartyDeclaration(self._name("the party's name"))

    def _asset(self) -> syntax.AssetDeclaration:
        self._take()
        name = self._name("the asset's name")
        self._need("rest")
        self._need("to")
        return syntax.AssetDeclaration(name, self._name("the party that gets what is left"))

    def _feed(self) -> syntax.FeedDeclaration:
        self._take()
        return syntax.FeedDeclaration(self._name("the feed's name"))

    def _parameter(self) -> syntax.ParameterDeclaration:
        self._take()
        name = self._name("the parameter's name")
        self._need(":")
        of = self._type()
        return syntax.ParameterDeclaration(name, of, self._limits() if self._is("in") else None)

    def _lock(self) -> syntax.LockDeclaration:
        self._take()
        party = self._name("the party that locks")
        return syntax.LockDeclaration(party, self._expression())

    def _observe(self) -> syntax.ObserveDeclaration:
        self._take()
        name = self._name("the observation's name")
        self._need(":")
        count = self._take() if self._next.sort is Sort.NUMBER else None
        self._need("prices" if count else "price")
        self._need("of")
        feed = self._name("the feed's name")
        self._need("from" if count else "at")
        opens = self._expression()
        every = None
        if count:
            self._need("every")
            every = self._expression()
        self._need("until")
        until = self._expression()
        return syntax.ObserveDeclaration(name, feed, count.value if count else 1, opens, every, until, self._limits())

    def _election(self) -> syntax.ElectionDeclaration:
        self._take()
        name = self._name("the election's name")
        self._need(":")
        of = self._type()
        self._need("by")
        party = self._name("the party that elects")
        self._need("from")
        opens = self._expression()
        self._need("until")
        until = self._expression()
        limits = self._limits() if self._is("in") else None
        deposit = self._expression() if self._taken("locks") else None
        return syntax.ElectionDeclaration(name, of, party, opens, until, limits, deposit)

    def _moment(self) -> syntax.MomentDeclaration:
        self._take()
        name = self._name("the moment's name")
        self._need("at")
        return syntax.MomentDeclaration(name, self._expression())

    def _limits(self) -> syntax.Limits:
        self._need("in")
        low = self._limit()
        self._need("..")
        return syntax.Limits(low, self._limit())

    def _limit(self) -> syntax.Number:
        start = self._next.at
        sign = -1 if self._taken("-") else 1
        if self._next.sort not in _UNITS:
            self._refuse("a number")
        number = self._number()
        return syntax.Number(self._since(start), sign * number.value, number.unit)
