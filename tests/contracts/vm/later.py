"""A contract that fixes an amount at one time and pays it at another."""

from __future__ import annotations

from typing import Final

from contracts.vm.language.compiler import Compiled, compile_text
from contracts.vm.verifier import Verified, verify

HOUR_MS: Final = 3_600_000
LATER: Final = """\
contract later
party writer
party holder
asset COIN rest to writer
feed INDEX
parameter lot: money COIN in 0..1_000
parameter strike: price in 0..20_000_000
parameter expiry: time
parameter delivery: time
lock writer lot
observe settlement: price of INDEX at expiry until expiry + 1d in 0..20_000_000
moment paid at delivery
when settlement arrives {
    let amount = if settlement > strike then lot else 0
    wait until paid
    pay amount to holder
} timeout {
}
close
"""


def later() -> Compiled:
    """The contract above."""
    return compile_text(LATER.encode())


def verified_later() -> Verified:
    """The same, verified."""
    return verify(later().program, 1_000)
