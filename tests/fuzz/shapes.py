"""Structured input for the decoders: whole values, so that a mutation of their bytes reaches deep."""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import strategies as st

from consensus.events import SafetyState
from consensus.types import QC, TC, Anchor, Certificates, Header, Message, Proposal, Timeout, TimeoutSignature, Vote
from contracts.operations import Field, Kind
from genesis.codec import Value, encode
from genesis.errors import Rejected
from genesis.evidence import Evidence, Half, Offence, make_evidence
from genesis.statements import Phase

DIGESTS = st.binary(min_size=32, max_size=32)
SIGNATURES = st.binary(min_size=64, max_size=64)
EPOCHS = st.integers(0, 2**32)
VIEWS = st.integers(0, 2**48)
PHASES = st.sampled_from(Phase)
INDICES = st.integers(0, 255)
SIGNERS = st.lists(INDICES, unique=True, max_size=5).map(sorted)


def values(depth: int) -> st.SearchStrategy[Any]:
    """Values that the encoding allows, nested at most so deep."""
    scalars = st.one_of(
        st.integers(-(2**63), 2**64 - 1), st.booleans(), st.none(), st.binary(max_size=20), st.text(max_size=20)
    )
    found: st.SearchStrategy[Any] = scalars
    for _ in range(depth):
        found = scalars | st.lists(found, max_size=4).map(tuple)
    return found


def foreign() -> st.SearchStrategy[bytes]:
    """Well-formed msgpack that the encoding forbids somewhere: floats, maps, extensions, deep nests."""
    scalars = st.one_of(
        st.floats(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=5), st.binary(max_size=70), st.none(),
        st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=5)),
    )  # fmt: skip
    tree = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.integers(0, 9) | st.text(max_size=2), inner),
        max_leaves=12,
    )
    return tree.map(lambda value: bytes(msgpack.packb(value, use_bin_type=True)))


@st.composite
def qcs(draw: st.DrawFn) -> QC:
    """Certificates of form, signed by nobody."""
    marks = tuple((voter, draw(SIGNATURES)) for voter in draw(SIGNERS))
    return QC(draw(EPOCHS), draw(VIEWS), draw(PHASES), draw(VIEWS), draw(DIGESTS), marks)


@st.composite
def tcs(draw: st.DrawFn) -> TC:
    """Timeout certificates of form."""
    marks = tuple(TimeoutSignature(voter, draw(VIEWS), draw(SIGNATURES)) for voter in draw(SIGNERS))
    return TC(draw(EPOCHS), draw(VIEWS), draw(qcs()), marks)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    """Proposals of form."""
    payload = tuple(draw(st.lists(DIGESTS, max_size=3)))
    anchor = Anchor(draw(VIEWS), draw(DIGESTS), draw(DIGESTS))
    time_unix_ms = draw(st.integers(0, 2**48 - 1))
    header = Header(
        draw(EPOCHS), draw(VIEWS), draw(VIEWS), draw(INDICES), draw(DIGESTS), draw(VIEWS), time_unix_ms, anchor, payload
    )
    return Proposal(draw(VIEWS), header, draw(qcs()), draw(st.none() | tcs()), draw(SIGNATURES))


def messages() -> st.SearchStrategy[Message]:
    """Messages of every kind."""
    return st.one_of(
        proposals(),
        st.builds(Vote, EPOCHS, VIEWS, PHASES, VIEWS, DIGESTS, INDICES, SIGNATURES),
        st.builds(Timeout, EPOCHS, VIEWS, qcs(), st.none() | tcs(), INDICES, SIGNATURES),
        st.builds(Certificates, qcs(), st.none() | tcs()),
    )


def safeties() -> st.SearchStrategy[SafetyState]:
    """Safety states of form."""
    timeouts = st.builds(Timeout, EPOCHS, VIEWS, qcs(), st.none() | tcs(), INDICES)
    return st.builds(SafetyState, EPOCHS, VIEWS, VIEWS, qcs(), st.none() | tcs(), st.none() | timeouts)


CANDIDATES = (
    "127.0.0.1:1", "view_timeout_ms", "M0/main", "M0", "BTC", "X-1", "C", "inverse", 1, 1_000, b"\x11" * 32,
    ("M0/main", "M1/main"), ("BTC",), (1, -1),
)  # fmt: skip
"""Of these one fits each field of an operation."""


def fitting(field: Field) -> Value:
    """The first candidate that this field takes."""
    for each in CANDIDATES:
        try:
            field.shape(each)
        except Rejected:
            continue
        return each
    raise LookupError(field.name)


def text_of(value: Value) -> str:
    """A field's value as a person writes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value.hex() if isinstance(value, bytes) else str(value)


def operation(kind: Kind) -> bytes:
    """A valid operation of this kind, as it stands in an envelope."""
    return encode([kind.code, *map(fitting, kind.fields)])


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    """Two votes of one key that contradict each other, signed by nobody."""
    one, other = draw(st.lists(DIGESTS, min_size=2, max_size=2, unique=True))
    halves = [Half((7, each), draw(SIGNATURES)) for each in (one, other)]
    return make_evidence(Offence.VOTE, draw(EPOCHS), draw(VIEWS), draw(INDICES), *halves, phase=draw(PHASES))


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Valid input, damaged: a few bytes exchanged, cut, repeated, spliced, or followed by more."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(1, 9))
        match draw(st.integers(0, 5)):
            case 0 if data:
                data[place % len(data)] ^= draw(st.integers(1, 255))
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = data[place : place + length]
            case 3:
                data[place:place] = draw(st.binary(min_size=1, max_size=9))
            case 4:
                data[place : place + length] = draw(st.sampled_from(INTERESTING))
            case _:
                other = draw(valid)
                data[place:] = other[place:] if draw(st.booleans()) else other[: len(data) - place]
    return bytes(data)


INTERESTING = (
    b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xd3\x80\0\0\0\0\0\0\0", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\x80",
    b"\xc7\0\xff",
    b"\xc0", b"\x90", b"\xc4\0", b"\xa0", b"\0", b"-1", b"1e999", b"inf", b"nan", b"\xed\xa0\x80", b"\\ud800", b"[[[[",
    b"{",
    b'"', b"9" * 30, b"true", b"null", b"1979-05-27",
)  # fmt: skip
"""Pieces on which parsers stumble: huge lengths, other types, odd numbers, half a surrogate."""
