"""The form of a text: what is read, and where what cannot be read stands."""

from __future__ import annotations

import time

import pytest

from contracts.vm.bytecode import RATIO_ONE, WORD_MAX, Rounding
from contracts.vm.language import syntax
from contracts.vm.language.lexer import SOURCE_BYTES_MAX, At, tokens_of
from contracts.vm.language.parser import DEPTH_MAX, parse_contract
from genesis.errors import Rejected
from tests.contracts.vm.language.texts import LIBRARY, place

HEAD = "contract c\n"

FAULTS = [
    ("nothing at all", "", "bad_syntax", 1, 1, "Expected 'contract', found the end of the text."),
    ("another beginning", "contrct c", "bad_syntax", 1, 1, "Did you mean 'contract'?"),
    ("a word as a name", "contract price", "bad_syntax", 1, 10, "It is a word of the language"),
    ("a misspelt declaration", HEAD + "party w\nobsrve s", "bad_syntax", 3, 1, "Did you mean 'observe'?"),
    ("a declaration too late", HEAD + "close\nparty w", "bad_syntax", 3, 1, "before the first statement"),
    ("a missing colon", HEAD + "parameter m money C", "bad_syntax", 2, 13, "Expected ':', found the word 'money'."),
    ("an unknown type", HEAD + "parameter m: mony C", "bad_syntax", 2, 14, "Did you mean 'money'?"),
    ("half a range", HEAD + "parameter m: price in 1..", "bad_syntax", 2, 26, "Expected a number, found the end"),
    ("no second side", HEAD + "let x = if a then b", "bad_syntax", 2, 20, "Expected 'else'"),
    ("no value", HEAD + "pay * 3 to w", "bad_syntax", 2, 5, "Expected a value, found the sign '*'."),
    ("a chain of comparisons", HEAD + "if a < b < c {}", "bad_syntax", 2, 10, "Join two comparisons with 'and'."),
    ("two divisions", HEAD + "let x = a / b / c", "bad_syntax", 2, 15, "put it in brackets"),
    ("on after a rounding", HEAD + "let x = a * b / c round down * d", "bad_syntax", 2, 30, "put it in brackets"),
    ("an unknown rounding", HEAD + "let x = a / b round off", "bad_syntax", 2, 21, "'down', 'up' or 'half_even'"),
    ("a choice in a sum", HEAD + "let x = a + if b then c else d", "bad_syntax", 2, 13, "Put the choice in brackets."),
    ("an open bracket", HEAD + "let x = (a + b\nclose", "bad_syntax", 3, 1, "Expected ')', found the word 'close'."),
    ("an open block", HEAD + "when s arrives {\nclose\n", "bad_syntax", 4, 1, "Expected '}', found the end"),
    ("no timeout", HEAD + "when s arrives { close }\nclose", "bad_syntax", 3, 1, "Expected 'timeout'"),
    ("one price in the plural", HEAD + "observe s: prices of F", "bad_syntax", 2, 12, "Expected 'price'"),
    ("a character of no use", HEAD + "party w€", "bad_text", 2, 8, "The character '€' has no meaning here."),
    ("a control character", HEAD + "party w\0", "bad_text", 2, 8, "The character 'U+0000' has no meaning here."),
    ("a fraction", HEAD + "pay 2.5 to w", "bad_text", 2, 5, "Only a ratio"),
    ("an unknown unit", HEAD + "pay 2weeks to w", "bad_text", 2, 5, "'weeks' is no unit"),
    ("too fine a ratio", HEAD + "let x = 0.0000000001x", "bad_text", 2, 9, "finer"),
    ("too large a number", HEAD + f"pay {WORD_MAX + 1} to w", "bad_text", 2, 5, "too large"),
    ("too many digits", HEAD + f"pay {'9' * 41} to w", "bad_text", 2, 5, "too many digits"),
    ("too long a name", HEAD + f"party {'x' * 33}", "bad_text", 2, 7, "A name is too long."),
]


@pytest.mark.parametrize(("text", "code", "line", "column", "reason"), [each[1:] for each in FAULTS], ids=lambda _: "")
def test_a_fault_of_form_is_shown_where_it_stands(text: str, code: str, line: int, column: int, reason: str) -> None:
    """Whoever wrote it must find the place without counting, and know what was expected there."""
    with pytest.raises(Rejected) as refused:
        parse_contract(text.encode())
    assert (refused.value.code, *place(refused.value)) == (code, line, column)
    assert reason in refused.value.message


def test_text_that_is_not_utf_8_is_refused_at_the_byte() -> None:
    """An editor's wrong encoding is found by its first wrong byte."""
    with pytest.raises(Rejected, match="not UTF-8") as refused:
        parse_contract(b"contract c\nparty \xff")
    assert place(refused.value) == (2, 7)


NESTS = ["(", "-", "not ", "if ", "max(", "if x { ", "when s arrives { ", "(a + ", "if a then "]


@pytest.mark.parametrize("nest", NESTS)
def test_nesting_without_end_is_refused_at_once(nest: str) -> None:
    """A hundred thousand brackets must cost a stranger's node neither its stack nor its time."""
    for head in ("contract c\nlet x = ", "contract c\n"):
        for count in (100_000, (SOURCE_BYTES_MAX - 100) // len(nest)):
            began = time.process_time()
            with pytest.raises(Rejected) as refused:
                parse_contract((head + nest * count).encode())
            assert refused.value.code in ("too_deep", "source_too_large", "bad_syntax")
            assert time.process_time() - began < 10


def test_depth_up_to_the_limit_is_read() -> None:
    """The limit must not be lower than stated; what is one deeper says so."""
    deepest = DEPTH_MAX - 1
    assert parse_contract(f"contract c let x = {'(' * deepest}a{')' * deepest}".encode())
    with pytest.raises(Rejected, match="too deep"):
        parse_contract(f"contract c let x = {'(' * DEPTH_MAX}a{')' * DEPTH_MAX}".encode())


def value_of(text: str) -> syntax.Expression:
    """The tree of one expression."""
    [let] = parse_contract(f"contract c let x = {text}".encode()).declarations
    assert isinstance(let, syntax.Let)
    return let.value


def shape(of: syntax.Expression) -> str:
    """A tree as text with every bracket."""
    match of:
        case syntax.Sum():
            return "(" + "".join("+-"[m] + shape(t) for t, m in zip(of.terms, of.is_minus, strict=True)) + ")"
        case syntax.Product():
            divided = f"/{shape(of.divisor)}" if of.divisor else ""
            return f"({'*'.join(map(shape, of.factors))}{divided})"
        case syntax.Comparison():
            return f"({shape(of.left)}{of.operator}{shape(of.right)})"
        case syntax.Logic():
            return f"({f' {of.operator} '.join(map(shape, of.parts))})"
        case syntax.Not() | syntax.Negation():
            return f"({type(of).__name__} {shape(of.of)})"
        case syntax.Choice():
            return f"[{shape(of.condition)}?{shape(of.positive)}:{shape(of.negative)}]"
        case syntax.Fold():
            return f"{of.function}({','.join(map(shape, of.arguments))})"
        case syntax.Name():
            return of.text
        case _:
            return str(of.value)


PRECEDENCE = [
    ("a + b * c - d", "(+a+(b*c)-d)"),
    ("a or b and not c == d", "(a or (b and (Not (c==d))))"),
    ("a - b < c + d and e", "(((+a-b)<(+c+d)) and e)"),
    ("-a * b", "((Negation a)*b)"),
    ("a * b * c / d round up", "(a*b*c/d)"),
    ("if a then b else if c then d else e", "[a?b:[c?d:e]]"),
    ("max(a, b + c) * mean(w) round down", "(max(a,(+b+c))*mean(w))"),
    ("(a + b) * c", "((+a+b)*c)"),
    ("a == b or c != d or e >= f", "((a==b) or (c!=d) or (e>=f))"),
]


@pytest.mark.parametrize(("text", "expected"), PRECEDENCE)
def test_operators_bind_as_stated(text: str, expected: str) -> None:
    """A bracket that was meant but not written would move money."""
    assert shape(value_of(text)) == expected


NUMBERS = [
    ("1_000", 1000, syntax.Unit.BARE),
    ("3 ticks", 3, syntax.Unit.TICKS),
    ("250ms", 250, syntax.Unit.DURATION),
    ("7d", 604_800_000, syntax.Unit.DURATION),
    ("2.5%", RATIO_ONE // 40, syntax.Unit.RATIO),
    ("0.25x", RATIO_ONE // 4, syntax.Unit.RATIO),
    ("0.000000001x", 1, syntax.Unit.RATIO),
    ("0.0000001%", 1, syntax.Unit.RATIO),
]


@pytest.mark.parametrize(("text", "value", "unit"), NUMBERS)
def test_numbers_carry_their_unit(text: str, value: int, unit: syntax.Unit) -> None:
    """Integers with units, exact: no float is ever between the text and the money."""
    assert value_of(text) == syntax.Number(At(1, 20, len(text)), value, unit)


def test_the_rounding_belongs_to_its_product_or_mean() -> None:
    """The two places where a rounding can stand look alike."""
    product = value_of("q * mean(w) round up")
    assert isinstance(product, syntax.Product)
    assert product.rounding is None
    mean = product.factors[1]
    assert isinstance(mean, syntax.Fold)
    assert mean.rounding is Rounding.UP


def test_every_token_knows_its_place() -> None:
    """Line ends of both kinds, tabs and comments must not shift a column."""
    places = {token.text: (token.at.line, token.at.column) for token in tokens_of("a # x\r\n\tb  cc\n\n d")}
    assert places == {"a": (1, 1), "b": (2, 2), "cc": (2, 5), "d": (4, 2), "": (4, 3)}


def test_the_opening_comment_is_one_paragraph() -> None:
    """`explain` prints it first."""
    assert parse_contract(b"# A call,\n#\n# with a cap.\ncontract c # not this").comment == "A call, with a cap."
    for file in LIBRARY:
        assert 150 < len(parse_contract(file.read_bytes()).comment) < 700, file.name
