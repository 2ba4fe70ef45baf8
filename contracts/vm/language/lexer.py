"""From a contract's text to tokens.

Rules:

1. The text is UTF-8 of at most `SOURCE_BYTES_MAX` bytes; a comment runs from ``#`` to the end of its line, and only
   comments may hold anything but printable ASCII, blanks, tabs and line ends.
2. A name is of letters, digits and underscores, not a digit first, at most `NAME_LENGTH_MAX` long. The words of the
   language are reserved.
3. A number is of digits, which underscores may group. Its unit follows at once: ``ms s m h d`` for a duration, ``%``
   and ``x`` for a ratio; a decimal fraction only with these two, exact to a part in a thousand million.

Every token has a position, and so has every refusal (`fault`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from contracts.vm.bytecode import NAME_LENGTH_MAX, RATIO_ONE, WORD_MAX
from genesis.errors import Detail, Rejected

SOURCE_BYTES_MAX: Final = 2**16

WORDS: Final = frozenset(
    [
        *("contract", "party", "asset", "rest", "to", "feed", "parameter", "in", "let", "lock", "observe", "prices"),
        *("of", "at", "from", "every", "until", "election", "by", "locks", "when", "arrives", "timeout", "if", "then"),
        *("else", "pay", "close", "true", "false", "and", "or", "not", "min", "max", "mean", "first", "last", "round"),
        *("down", "up", "half_even", "bool", "time", "quantity", "price", "money", "ratio", "ticks"),
        *("moment", "wait"),
    ]
)
"""Reserved: no name may be one of these."""

DURATIONS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RATIO_PARTS: Final = {"%": RATIO_ONE // 100, "x": RATIO_ONE}
_FRACTION_DIGITS_MAX: Final = 9
_DIGITS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class At:
    """Where something stands: line and column from 1, and how many characters of that line it takes."""

    line: int
    column: int
    length: int = 1


def fault(code: str, message: str, at: At, **details: Detail) -> Rejected:
    """The refusal of what stands there."""
    return Rejected(code, message, **details, line=at.line, column=at.column, length=at.length)


class Sort(Enum):
    """What a token is; the value is what people call it."""

    NAME = "the name"
    WORD = "the word"
    NUMBER = "the number"
    DURATION = "the duration"
    RATIO = "the ratio"
    SIGN = "the sign"
    END = "the end of the text"


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        sort: What it is.
        text: As it was written.
        at: Where.
        value: Of a number, in the unit of its type (milliseconds, parts per thousand million); else 0.
    """

    sort: Sort
    text: str
    at: At
    value: int = 0

    def __str__(self) -> str:
        return self.sort.value if self.sort is Sort.END else f"{self.sort.value} '{self.text}'"


_TOKEN: Final = re.compile(
    r"(?P<blank>[ \t\r\n]+|#[^\n]*)"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<number>[0-9][0-9_]*(?:\.[0-9][0-9_]*)?)(?P<unit>[A-Za-z_]+|%)?"
    r"|(?P<sign>\.\.|<=|>=|==|!=|[-+*/<>(){},:=])"
)


def source_text(source: bytes) -> str:
    """The text of a file.

    Raises:
        Rejected: ``source_too_large`` or ``bad_text``.
    """
    if len(source) > SOURCE_BYTES_MAX:
        raise Rejected(
            "source_too_large", "The contract's text is too long.", size=len(source), size_max=SOURCE_BYTES_MAX
        )
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        before = source[: error.start]
        at = At(before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        raise fault("bad_text", "The contract's text is not UTF-8.", at) from error


def tokens_of(text: str) -> tuple[Token, ...]:
    """The tokens of a text, the last one its end.

    Raises:
        Rejected: ``source_too_large`` or ``bad_text``.
    """
    if len(text) > SOURCE_BYTES_MAX:
        raise Rejected(
            "source_too_large", "The contract's text is too long.", size=len(text), size_max=SOURCE_BYTES_MAX
        )
    return tuple(_tokens(text))


def opening_comment(text: str) -> str:
    """The comment before the first token, as one paragraph: what its author says of the contract."""
    said = []
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            break
        said.append(stripped.lstrip("#").strip())
    return " ".join(each for each in said if each)


def _tokens(text: str) -> Iterator[Token]:
    at, line, line_start = 0, 1, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        column = at - line_start + 1
        if match is None:
            shown = text[at] if text[at].isprintable() else f"U+{ord(text[at]):04X}"
            raise fault("bad_text", f"The character '{shown}' has no meaning here.", At(line, column))
        if match["blank"] is None:
            yield _token(match, At(line, column, match.end() - at))
        else:
            breaks = match["blank"].count("\n")
            if breaks:
                line, line_start = line + breaks, at + match["blank"].rfind("\n") + 1
        at = match.end()
    yield Token(Sort.END, "", At(line, at - line_start + 1))


def _token(match: re.Match[str], at: At) -> Token:
    written = match[0]
    if match["sign"] is not None:
        return Token(Sort.SIGN, written, at)
    if match["name"] is None:
        return _number(match["number"], match["unit"] or "", at)
    if len(written) > NAME_LENGTH_MAX:
        raise fault("bad_text", "A name is too long.", at, length_found=len(written), length_max=NAME_LENGTH_MAX)
    return Token(Sort.WORD if written in WORDS else Sort.NAME, written, at)


def _number(written: str, unit: str, at: At) -> Token:
    if len(written) > _DIGITS_MAX:
        raise fault("bad_text", "A number has too many digits.", at, digits=len(written), digits_max=_DIGITS_MAX)
    whole, _, fraction = written.replace("_", "").partition(".")
    if unit in _RATIO_PARTS:
        value = _ratio(whole, fraction, unit, at)
        sort = Sort.RATIO
    elif fraction:
        raise fault("bad_text", "Only a ratio (2.5%, 0.25x) has a fraction; everything else is a whole number.", at)
    elif unit in DURATIONS_MS:
        value, sort = int(whole) * DURATIONS_MS[unit], Sort.DURATION
    elif unit:
        raise fault("bad_text", f"'{unit}' is no unit; there are ms, s, m, h, d, % and x.", at)
    else:
        value, sort = int(whole), Sort.NUMBER
    if value > WORD_MAX:
        raise fault("bad_text", "A number is too large.", at, value=value, value_max=WORD_MAX)
    return Token(sort, written + unit, at, value)


def _ratio(whole: str, fraction: str, unit: str, at: At) -> int:
    digits = fraction.rstrip("0")
    scale: int = 10 ** len(digits)
    value, rest = divmod(int(whole + digits) * _RATIO_PARTS[unit], scale)
    if rest or len(digits) > _FRACTION_DIGITS_MAX:
        raise fault("bad_text", f"A ratio is exact to one part in {RATIO_ONE:_}; this one is finer.", at)
    return value
