"""A contract in plain English: complete, and the same thing that the bytecode does."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.vm.bytecode import InputKind
from contracts.vm.language.compiler import compile_text
from contracts.vm.language.explain import explain
from contracts.vm.language.parser import parse_contract
from contracts.vm.language.syntax import Let
from contracts.vm.language.words import Words, duration_words, listed, ratio_words
from tests.contracts.vm.language.texts import LIBRARY, framed


def told(source: bytes) -> str:
    """The explanation as indented text."""
    return "\n".join(
        f"{section.title}\n" + "\n".join("  " * (line.depth + 1) + line.text for line in section.lines)
        for section in explain(compile_text(source).contract)
    )


FORWARD = """\
Parties
  The writer and the holder.
Fixed when it starts
  q: a quantity, from 0 to 1,000.
  m: money, CASH, from 0 to 1,000.
  c: money, COIN, from 1 to 1,000.
  p: a price, from 1 to 1,000.
  r: a ratio, from 0 % to 100 %.
  t: a time.
  b: yes or no.
Locked when it starts
  The writer locks CASH: the larger of m and 5.
Waited for
  s is the price of INDEX at t, from 1 to 1,000 ticks. It must arrive before t plus 2 hours; from then on it is absent.
  w is 3 prices of INDEX, the first at t, the next ones every 1 hour, each from 1 to 1,000 ticks. All must arrive \
before t plus 1 day; otherwise they count as absent.
  e is chosen by the holder (yes or no), from t until before t plus 1 hour.
What happens
  When s has arrived:
    If s is above p:
      x is m times s divided by p, rounded half to even.
      Pay to the holder CASH: x times r, rounded down.
    Otherwise:
      Pay to (the writer if b, else the holder) COIN: c.
  If it has not by t plus 2 hours:
    Nothing is paid.
  When all prices of w have arrived:
    If (the lowest price of w) is below (the mean of w, rounded down):
      Nothing is paid.
  If one has not by t plus 1 day:
    Nothing is paid.
  When the holder has chosen e:
    If e and (not b):
      The contract closes.
  If it has not by t plus 1 hour:
    Nothing is paid.
  The contract closes.
At the close
  What is left of CASH goes to the writer.
  What is left of COIN goes to the writer."""


def test_every_part_of_a_contract_is_told() -> None:
    """Who signs a contract reads this: every party, lock, wait, choice, payment and timeout is in it."""
    source = framed(
        "lock writer max(m, 5)",
        in_s="if s > p { let x = m * s / p round half_even pay x * r round down to holder } "
        "else { pay c to if b then writer else holder }",
        in_w="if min(w) < mean(w) round down { }",
        in_e="if e and not b { close }",
    )
    assert told(source) == FORWARD


@pytest.mark.parametrize("file", LIBRARY, ids=lambda each: each.stem)
def test_every_contract_of_the_library_is_told_from_its_comment_to_its_close(file: Path) -> None:
    """Nothing in it stays symbols; what happens if a price never arrives is always said."""
    text = told(file.read_bytes())
    contract = compile_text(file.read_bytes()).contract
    assert text.startswith(f"What it is\n  {contract.text.comment}\n")
    after_comment = text.partition("\nParties\n")[2]
    assert not set("*<>=+{}#_") - set("_") & set(after_comment)
    moments = [each for each in contract.inputs if each.kind is InputKind.MOMENT]
    assert after_comment.count("has not by") == len(contract.inputs) - len(moments)
    assert after_comment.count("is a moment: ") == after_comment.count("Wait until ") == len(moments)
    for each in contract.assets:
        assert f"What is left of {each.name} goes to the {contract.parties[each.rest]}." in after_comment


EXPRESSIONS = [
    ("-(a + b) * 3", "(minus (a plus b)) times 3"),
    ("a - b - 2 ticks", "a minus b minus 2 ticks"),
    ("min(a, b, c)", "the smallest of a, b and c"),
    ("a * b / 1 ticks round up", "a times b"),
    ("a / b round up", "a divided by b, rounded up"),
    ("a != b and (c <= d or true)", "(a differs from b) and ((c is at or below d) or yes)"),
    ("first(w) - last(w)", "(the first price of w) minus (the last price of w)"),
    ("if x then writer else a", "the writer if x, else a"),
    ("90m + 2.5% + 0.000000001x", "90 minutes plus 2.5 % plus 0.0000001 %"),
]


@pytest.mark.parametrize(("text", "expected"), EXPRESSIONS)
def test_expressions_read_as_they_are_computed(text: str, expected: str) -> None:
    """Brackets stay where leaving them out could be read another way."""
    [let] = parse_contract(f"contract c let x = {text}".encode()).declarations
    assert isinstance(let, Let)
    assert Words(frozenset({"writer"})).of(let.value) == expected


def test_durations_and_ratios_are_exact_in_words() -> None:
    """No rounding on the way to a reader."""
    assert [duration_words(each) for each in (1, 1_000, 90_000, 86_400_000)] == [
        "1 millisecond", "1 second", "90 seconds", "1 day",
    ]  # fmt: skip
    assert [ratio_words(each) for each in (0, 10**9, -(10**7), 1)] == ["0 %", "100 %", "-1 %", "0.0000001 %"]
    assert [listed(each) for each in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
