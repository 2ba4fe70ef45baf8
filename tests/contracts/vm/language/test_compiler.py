"""From a text to bytecode: the same bytes every time, each thing computed once, and the meaning kept."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.vm.bytecode import CODE_LENGTH_MAX, RATIO_ONE, Op, Rounding, decode_program, encode_program
from contracts.vm.interpreter import run, terms
from contracts.vm.intervals import divided
from contracts.vm.language.compiler import compile_text, compile_verified
from contracts.vm.language.parser import ROUNDINGS
from genesis.errors import Rejected
from tests.contracts.vm.language.texts import EXPIRY_UNIX_MS, GAS_MAX, LIBRARY, ROOT, framed, library, place, refusal

HOUR_MS = 3_600_000

GOLDEN = {
    "actus_option": "55ebc6f4fbe54017b2703c791f8077c58ab67ad7b69b4881642b400dc5b4df46",
    "asian": "d29909b71b2851f7778dc788609b01186ba5966c90d0500a08b1247440de2aa6",
    "barrier": "75989b252caf14ebfd6a176f35897baa84209be294e759546c550d266dad0b63",
    "call_spread": "de2175eb24c299788a80449958c886ee865cfeb8e968ef317781ec09a889cd30",
    "covered_call": "105c61fcb2b900d636c7f280f54968de8a27dcffb83d7bd54267506e9addd36a",
    "digital": "83d29a2b3c22276ef01be7e6a7b74aa9f428461fada390d2e4f32b505a03c5c1",
    "forward": "b76a6ff047f3e3f05bed7a105d69e4fb0aff98bf84d053b3252342679d4a97f1",
    "iron_condor": "83fb207393bbcb1281f071f3898cf8ee10ce54a0eabab15ebb6ccbaa9612c47c",
    "physical_delivery": "6ef2a25483dde8cf8cba8e37035855fafa1251e038d2454a779d4fae3bb7730a",
    "put_spread": "9ead44282b26adba54345ad60121b6945fe048cc1f3a836befa1f2848e90b17e",
    "straddle": "967ec39a280f2550bd1ca6df266dff605a5e73aaebd02315e645b5f3367388a6",
    "vanilla_inverse": "8cedbb6bdf298b20346f188107567bf06920085a90533c65dc9763c93018e55d",
    "vanilla_linear": "3b28c993dda1f1de0a8d51e4beab72b88c068ad106c4e1de995a29f0691fbb55",
}
"""The programs of the library, by id. Commit a change only if you understand what caused it: instances on a chain name
their program by this."""


def test_the_library_compiles_to_the_same_bytes_for_ever() -> None:
    """A compiler that changes its mind would give one text two programs, and a series two ids."""
    assert {file.stem: library(file.stem)[0].program.program_id.hex() for file in LIBRARY} == GOLDEN


def test_the_bytes_do_not_depend_on_the_process() -> None:
    """Hash seeds differ between machines; what is compiled may not."""
    program = (
        "import sys, pathlib; from contracts.vm.language.compiler import compile_text; "
        "print(compile_text(pathlib.Path(sys.argv[1]).read_bytes()).program.program_id.hex())"
    )
    file = ROOT / "contracts" / "library" / "asian.contract"
    ids = {
        subprocess.run(
            [sys.executable, "-c", program, str(file)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert ids == {GOLDEN["asian"]}


@pytest.mark.parametrize("file", LIBRARY, ids=lambda each: each.stem)
def test_a_program_goes_through_its_encoding(file: Path) -> None:
    """What is stored on the chain is the bytes."""
    program = compile_text(file.read_bytes()).program
    assert decode_program(encode_program(program)) == program


def test_equal_operations_are_computed_once_where_every_path_has_them() -> None:
    """Shared across a block and those inside it, never from one branch to the other."""
    compiled = compile_text(framed("let x = q * m", in_s="pay q * m to holder if s > p { pay q * m to writer }"))
    ops = [each.op for each in compiled.program.code]
    assert ops.count(Op.MULDIV) == 1
    apart = compile_text(framed(in_s="if b { let x = s + p if x > 3 { } } else { let x = s + p if x > 3 { } }"))
    assert [each.op for each in apart.program.code].count(Op.ADD) == 2 + 2 + 2, "two in the blocks; windows' and ends'"
    assert compile_verified(framed(in_s="if b { let x = s + p if x > 3 { } } else { if s + p > 3 { } }"), GAS_MAX)


def test_what_follows_from_parameters_stands_in_the_preamble() -> None:
    """It is computed when the instance starts; only what is awaited comes after."""
    compiled = compile_text(framed(in_s="if b { let x = m * 3 + 5 pay x to holder }"))
    program = compiled.program
    body = [each.op for each in program.code[program.preamble_length :]]
    assert not {Op.CONST, Op.PARAM, Op.MULDIV, Op.ADD} & set(body)
    assert len(set(program.constants)) == len(program.constants)


def test_a_name_that_nothing_uses_costs_nothing() -> None:
    """Gas is the sum over all instructions, so what is not needed must not be there."""
    assert compile_text(framed("let x = q * m")).program == compile_text(framed()).program


def test_a_window_is_one_input_a_price_each_due_at_its_time() -> None:
    """`window[n]` is due at from + (n - 1) * every; if one is absent the timeout's block runs."""
    at_timeout = b"timeout { pay m / 2 round down to holder }\nwhen e"
    source = framed("lock writer m", in_w="pay m to holder").replace(b"timeout { }\nwhen e", at_timeout)
    compiled, verified = compile_verified(source, GAS_MAX)
    names = [each.name for each in compiled.program.inputs]
    assert names == ["s", "w[1]", "w[2]", "w[3]", "e"]
    parameters = (1, 100, 1, 1, 0, EXPIRY_UNIX_MS, 0)
    windows = terms(verified, parameters).windows
    assert [each.opens_unix_ms - EXPIRY_UNIX_MS for each in windows[1:4]] == [0, HOUR_MS, 2 * HOUR_MS]
    assert {each.until_unix_ms - EXPIRY_UNIX_MS for each in windows[1:4]} == {24 * HOUR_MS}
    settled: dict[int, int | None] = {0: 5, 1: 5, 2: 5, 4: None}
    assert run(verified, parameters, settled).waits_for == 3
    assert run(verified, parameters, {**settled, 3: 5}).payments[0].amount_minor == 100
    for absent in (1, 2, 3):
        assert run(verified, parameters, {**settled, 3: 5, absent: None}).payments[0].amount_minor == 50


FOLDS = [
    ("mean(w) round down", 3), ("mean(w) round up", 4), ("mean(w) round half_even", 4), ("min(w)", 1), ("max(w)", 7),
    ("first(w)", 3), ("last(w)", 7), ("max(w) - min(w)", 6),
]  # fmt: skip


@pytest.mark.parametrize(("fold", "expected"), FOLDS)
def test_a_window_is_folded_as_stated(fold: str, expected: int) -> None:
    """Over the prices 3, 1 and 7."""
    in_w = f"let one: money CASH = 1 pay one * max(0, {fold}) / 1 ticks round down to holder"
    _, verified = compile_verified(framed("lock writer m", in_w=in_w), GAS_MAX)
    ran = run(verified, (0, 1000, 1, 1, 0, EXPIRY_UNIX_MS, 0), {0: None, 1: 3, 2: 1, 3: 7, 4: None})
    assert ran.payments[0].amount_minor == expected


def test_a_program_that_grows_too_long_is_refused_where_it_does() -> None:
    """Before it has cost memory: the text is small, and what it asks for is not."""
    many = " ".join(f"let x{n} = s + {n} ticks if x{n} > 3 {{ }}" for n in range(2 * CODE_LENGTH_MAX // 4 // 2))
    with pytest.raises(Rejected) as refused:
        compile_text(framed(in_s=many))
    assert (refused.value.code, place(refused.value)[0]) == ("program_too_long", 18)


def doubling(count: int) -> str:
    """Names of which each is twice the one before."""
    return "let x0 = s " + " ".join(f"let x{n} = x{n - 1} + x{n - 1}" for n in range(1, count))


def nested(count: int, before: str, inside: str, after: str) -> str:
    """That much in brackets around something."""
    return before * count + inside + after * count


SLOW = [
    ("thousands of names", "".join(f"let x{n} = s if x{n} > 3 {{ }} " for n in range(1500)), None),
    ("blocks without end", "if b { let x = s + 3 if x > 3 { } } " * 1500, "program_too_long"),
    ("one long sum", "let x = s" + " + s" * 12_000 + " if x > 3 { }", "program_too_long"),
    ("one long maximum", "let x = max(s" + ", s" * 12_000 + ") if x > 3 { }", "program_too_long"),
    ("one long condition", "if s > 3" + " and s > 3" * 5000 + " { }", "program_too_long"),
    ("names that double", doubling(60) + " if x59 > 3 { }", None),
    ("names that double too often", doubling(200) + " if x199 > 3 { }", "bad_program"),
    ("bare numbers that wait", f"let x: quantity = {nested(40, '(1 + ', '1', ')')} if x > 3 {{ }}", None),
    (
        "products that wait",
        f"let x: money CASH = {nested(20, 'max(0, 3 * p / (p + ', 's', ') round down)')}",
        None,
    ),
    ("choices that wait", f"pay {nested(20, 'max(0, if b then 1 else ', '2', ')')} + m to holder", None),
    ("a wide window, folded again and again", "if min(w) < max(w) { } " * 800, "program_too_long"),
]


@pytest.mark.parametrize(("text", "code"), [each[1:] for each in SLOW], ids=[each[0] for each in SLOW])
def test_compiling_takes_time_in_proportion_to_the_text(text: str, code: str | None) -> None:
    """A small text must not keep a machine busy: it is compiled or refused at once."""
    in_window = framed(in_w=text).replace(b"w: 3 prices", b"w: 512 prices")
    began = time.process_time()
    assert refusal(in_window if "w)" in text else framed(in_s=text)) == code
    assert time.process_time() - began < 15


# --- the meaning ------------------------------------------------------------------------------------------------------

PARAMETERS = {"q": 7, "m": 403, "c": 11, "p": 13, "r": RATIO_ONE // 8, "b": 1}
PRICE = 29
Meant = tuple[str, int]
ROUNDINGS_BY_NAME = st.sampled_from(sorted(ROUNDINGS))


def meaning(leaf: str) -> Meant:
    """A name and its value."""
    return leaf, PARAMETERS[leaf] if leaf != "s" else PRICE


def quantities() -> st.SearchStrategy[Meant]:
    """Small quantities, written or named."""
    return st.just(meaning("q")) | st.integers(0, 9).map(lambda n: (str(n), n))


@st.composite
def joined(draw: st.DrawFn, inner: st.SearchStrategy[Meant]) -> Meant:
    """Two values of one type, joined in one of the ways there are; brackets stand round all of them."""
    (a, x), (b, y) = draw(inner), draw(inner)
    condition, holds = draw(comparisons(inner))
    ways: list[tuple[str, Callable[[], int]]] = [
        (f"({a} + {b})", lambda: x + y),
        (f"({a} - {b})", lambda: x - y),
        (f"({a} - {b} + {a})", lambda: x - y + x),
        (f"min({a}, {b})", lambda: min(x, y)),
        (f"max({a}, {b}, {a})", lambda: max(x, y)),
        (f"(-{a})", lambda: -x),
        (f"(if {condition} then {a} else {b})", lambda: x if holds else y),
    ]
    text, value = draw(st.sampled_from(ways))
    return text, value()


@st.composite
def comparisons(draw: st.DrawFn, inner: st.SearchStrategy[Meant]) -> tuple[str, bool]:
    """A condition over two values of one type, plain, denied or joined with another."""
    (a, x), (b, y) = draw(inner), draw(inner)
    operators = [("<", x < y), ("<=", x <= y), (">", x > y), (">=", x >= y), ("==", x == y), ("!=", x != y)]
    operator, holds = draw(st.sampled_from(operators))
    text = f"{a} {operator} {b}"
    forms = [
        (text, holds),
        (f"(not {text})", not holds),
        (f"({text} and b)", holds),
        (f"({text} or not b)", holds),
        (f"(b == ({text}))", holds),
    ]
    return draw(st.sampled_from(forms))


def scaled(base: Meant, one: Meant, other: Meant, rounding: str) -> Meant:
    """``base * one / other``; the divisor is kept away from zero."""
    text = f"({base[0]} * {one[0]} / max(1, {other[0]}) round {rounding})"
    return text, divided(base[1] * one[1], max(1, other[1]), ROUNDINGS[rounding])


def values(leaves: list[str], others: st.SearchStrategy[Meant]) -> st.SearchStrategy[Meant]:
    """Values of one type: its names, joined, and scaled by two `others` of another type or by a ratio."""
    ratio = st.builds(
        lambda base, rounding: (
            f"({base[0]} * r round {rounding})",
            divided(base[1] * PARAMETERS["r"], RATIO_ONE, ROUNDINGS[rounding]),
        ),
        st.sampled_from(leaves).map(meaning),
        ROUNDINGS_BY_NAME,
    )
    times = st.builds(
        lambda base, by: (f"({base[0]} * {by[0]})", base[1] * by[1]), st.sampled_from(leaves).map(meaning), quantities()
    )
    leaf = st.sampled_from(leaves).map(meaning) | ratio | times
    deeper = st.recursive(leaf, joined, max_leaves=5)
    return deeper | st.builds(scaled, deeper, others, others, ROUNDINGS_BY_NAME)


PRICES = values(["p", "s"], quantities())
MONEYS = values(["m"], PRICES)


@settings(max_examples=60, deadline=None)
@given(meant=MONEYS)
def test_a_program_computes_what_its_text_says(meant: Meant) -> None:
    """The text is evaluated here a second time, by Python's own arithmetic with exact integers."""
    text, value = meant
    source = framed(
        "lock writer m * 1_000_000_000", in_s=f"let x = {text} pay max(0, x) to holder pay max(0, -x) to writer"
    )
    _, verified = compile_verified(source, GAS_MAX)
    parameters = (*(PARAMETERS[name] for name in ("q", "m", "c", "p", "r")), EXPIRY_UNIX_MS, PARAMETERS["b"])
    ran = run(verified, parameters, {0: PRICE, 1: None, 4: None})
    assert (ran.payments[0].due_minor, ran.payments[1].due_minor) == (max(0, value), max(0, -value)), text


@pytest.mark.parametrize("rounding", list(Rounding))
def test_every_rounding_reaches_the_bytecode(rounding: Rounding) -> None:
    """One taken for another would move a unit of money on every payment."""
    compiled = compile_text(framed(in_s=f"pay m * s / p round {rounding.name.lower()} to holder"))
    assert [Rounding(each.d) for each in compiled.program.code if each.op is Op.MULDIV] == [rounding]


def test_a_refusal_of_the_verifier_is_shown_in_the_text() -> None:
    """`Instruction 31` means nothing to whoever wrote line 18."""
    with pytest.raises(Rejected, match="may be negative") as refused:
        compile_verified(framed(in_s="pay m - 5 to holder"), GAS_MAX)
    assert (refused.value.code, place(refused.value)) == ("bad_program", (18, 18))
    with pytest.raises(Rejected, match="is locked, but") as refused:
        compile_verified(framed("lock writer m - 5"), GAS_MAX)
    assert (refused.value.code, place(refused.value)) == ("bad_program", (14, 13))
    with pytest.raises(Rejected, match="divisor may be zero") as refused:
        compile_verified(framed(in_s="pay m * q / q round down to holder"), GAS_MAX)
    assert place(refused.value) == (18, 22)
