"""A contract's program as a payoff of a simulation: path-dependent, from the very bytecode that settles.

Rules:

1. The underlyings are the program's feeds, in its order. The times of the simulation are the instants of its prices and
   its moments, each once, ascending, in years of 365 days from the time of valuation.
2. Every moment comes, and every price arrives; a price outside the range that the program declares counts as the nearer
   end, since a chain binds a program only to indices whose band lies in that range.
3. What is valued is what a party receives of one asset, the close included, less what it locked, in minor units; like
   every payoff of a simulation it counts as paid at the last time.
4. A program with elections has no value without a rule of exercise, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from contracts.pricing.payoffs import Ticks
from contracts.vm.bytecode import CODE_LENGTH_MAX, InputKind, decode_program
from contracts.vm.columns import ARRIVED, Valuer
from contracts.vm.interpreter import Terms, terms
from contracts.vm.verifier import Verified, verify
from genesis.errors import Rejected

YEAR_MS: Final = 365 * 86_400_000
GAS_MAX: Final = 16 * CODE_LENGTH_MAX
"""Whatever fits a program: valuing binds no validator."""


@dataclass(frozen=True)
class ContractPayoff:
    """An instance of a program, from one party's side; a frozen value that can be sent to another process.

    Args:
        encoded: The program's canonical bytes.
        parameters: In the program's order.
        party: The number of the party that is paid.
        asset: The number of the asset that is counted.
    """

    encoded: bytes
    parameters: tuple[int, ...]
    party: int
    asset: int = 0

    @cached_property
    def _verified(self) -> Verified:
        return verify(decode_program(self.encoded), GAS_MAX)

    @cached_property
    def _valuer(self) -> Valuer:
        return Valuer(self._verified, self.parameters)

    @cached_property
    def _terms(self) -> Terms:
        return terms(self._verified, self.parameters)

    @cached_property
    def _instants(self) -> tuple[int, ...]:
        """Rule 1: the instants of all prices and moments, each once, ascending."""
        return tuple(sorted({each.opens_unix_ms for each in self._terms.windows}))

    def times_years(self, now_unix_ms: int) -> tuple[float, ...]:
        """The times at which the simulation must observe prices.

        Raises:
            Rejected: ``payoff_terms`` where a price's instant or a moment has passed at `now_unix_ms`, or there is
                none.
        """
        if not self._instants or self._instants[0] <= now_unix_ms:
            first = self._instants[0] if self._instants else 0
            message = "A contract is valued before its first observation."
            raise Rejected("payoff_terms", message, first_unix_ms=first, now_unix_ms=now_unix_ms)
        return tuple((each - now_unix_ms) / YEAR_MS for each in self._instants)

    def check(self, underlyings: int) -> None:
        """See `contracts.pricing.payoffs.Payoff`; also ``not_word_sized`` and what verifying the program raises."""
        program = self._valuer.verified.program
        if any(each.kind is InputKind.ELECTION for each in program.inputs):
            raise Rejected("payoff_terms", "Not supported: a contract with elections needs a rule of exercise.")
        if len(program.feeds) != underlyings:
            message = "A contract has an underlying for each feed."
            raise Rejected("payoff_terms", message, feeds=len(program.feeds), underlyings=underlyings)
        if not (0 <= self.party < len(program.parties) and 0 <= self.asset < len(program.assets)):
            message = "The program has no such party or asset."
            raise Rejected("payoff_terms", message, party=self.party, asset=self.asset)

    def payouts_ticks(self, prices_ticks: Ticks) -> Ticks:
        """See `contracts.pricing.payoffs.Payoff`; the times are those of `times_years`."""
        inputs, windows = self._verified.program.inputs, self._terms.windows
        values = np.empty((len(inputs), prices_ticks.shape[2]), dtype=np.int64)
        for number, (each, window) in enumerate(zip(inputs, windows, strict=True)):
            if each.kind is InputKind.MOMENT:
                values[number] = 1
                continue
            column = prices_ticks[each.source, self._instants.index(window.opens_unix_ms)]
            values[number] = np.minimum(np.maximum(column, each.low), each.high)
        received = self._valuer.over(values, np.full_like(values, ARRIVED)).received[self.party, self.asset]
        locked = [amount for party, asset, amount in self._terms.locks if (party, asset) == (self.party, self.asset)]
        gained: Ticks = received - sum(locked)
        return gained
