"""Texts that tests share: the library, and a frame into which one line at a time is put."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from contracts.vm.language.compiler import Compiled, compile_verified
from contracts.vm.verifier import Verified
from genesis.errors import Rejected

ROOT: Final = Path(__file__).resolve().parents[4]
LIBRARY: Final = tuple(sorted((ROOT / "contracts" / "library").glob("*.contract")))
GAS_MAX: Final = 16_384
EXPIRY_UNIX_MS: Final = 1_800_000_000_000

FRAME: Final = """\
contract frame
party writer
party holder
asset CASH rest to writer
asset COIN rest to writer
feed INDEX
parameter q: quantity in 0..1000
parameter m: money CASH in 0..1000
parameter c: money COIN in 1..1000
parameter p: price in 1..1000
parameter r: ratio in 0%..100%
parameter t: time
parameter b: bool
{declaration}
observe s: price of INDEX at t until t + 2h in 1..1000
observe w: 3 prices of INDEX from t every 1h until t + 1d in 1..1000
election e: bool by holder from t until t + 1h
when s arrives {{ {in_s} }} timeout {{ }}
when w arrives {{ {in_w} }} timeout {{ }}
when e arrives {{ {in_e} }} timeout {{ }}
close
"""
"""Line 14 is the declaration, lines 18 to 20 the blocks."""


def framed(declaration: str = "", in_s: str = "", in_w: str = "", in_e: str = "") -> bytes:
    """A contract of every type, with that much added."""
    return FRAME.format(declaration=declaration, in_s=in_s, in_w=in_w, in_e=in_e).encode()


@cache
def library(name: str) -> tuple[Compiled, Verified]:
    """A contract of the library."""
    return compile_verified((ROOT / "contracts" / "library" / f"{name}.contract").read_bytes(), GAS_MAX)


def place(error: Rejected) -> tuple[object, object]:
    """The line and column of a refusal."""
    return error.details.get("line"), error.details.get("column")


def refusal(source: bytes) -> str | None:
    """The code with which a text is refused; None for one that every node would store."""
    try:
        compile_verified(source, GAS_MAX)
    except Rejected as error:
        return error.code
    return None
