"""Coin-margined options against exact derivatives, their payoff, and an exchange's own marks."""

from __future__ import annotations

import gzip
import json

import numpy as np
from mpmath import mpf

from contracts.pricing import implied_volatility, inverse
from tests.contracts.pricing import black, vectors

YEAR_MS = 365 * 86_400_000


def exact(**row: mpf) -> mpf:
    """The textbook's price over the spot."""
    return black.black_scholes(**row) / row["spot"]


def test_greeks_are_the_derivatives_of_the_premium_in_coins() -> None:
    """The premium is itself in the coin that moves: a delta in cash would leave that part unhedged."""
    for row in black.rows(21, 40, deviations_max=4.0):
        greeks = inverse.inverse_greeks(**row)
        assert greeks.price[0] == inverse.inverse_price(**row)[0]
        size = max(1.0, row["strike"] / row["spot"])
        for greek, column, order, sign in black.DERIVATIVES:
            if greek != "volga":
                derivative = sign * black.derivative(exact, row, column, order)
                found, scale = getattr(greeks, greek)[0], size / row[column] ** order
                assert abs(found - derivative) <= 1e-12 * max(abs(derivative), 1e-2 * scale), (greek, row)


def test_at_expiry_the_premium_is_what_is_paid() -> None:
    """A call never pays a whole coin; a put may pay many."""
    certain = {"strike": 100.0, "q": 0.0, "r": 0.0, "t_years": 0.0, "vol": 0.5}
    paid = inverse.inverse_price(right=[1, 1, -1, -1], spot=[50.0, 200.0, 50.0, 10.0], **certain)
    assert list(paid) == [0.0, 0.5, 1.0, 9.0]


@vectors.NEEDS_DATA
def test_marks_of_an_exchange_are_its_own_volatilities() -> None:
    """326 series of one evening: premium, expiry and volatility as an exchange published them."""
    path = vectors.FOLDER / "market" / "deribit_btc_option_books_20200521.json.gz"
    books = json.loads(gzip.decompress(path.read_bytes()))
    given = {
        "right": np.array([1.0 if book["type"] == "call" else -1.0 for book in books]),
        "strike": np.array([book["strike"] for book in books]),
        "t_years": np.array([(book["expiry_utc_ms"] - book["ts_utc_ms"]) / YEAR_MS for book in books]),
    }
    underlying = np.array([book["underlying_price"] for book in books])
    marks = np.array([book["mark_price"] for book in books])
    vols = np.array([book["mark_iv"] for book in books]) / 100
    off = np.abs(inverse.inverse_price(**given, spot=underlying, q=0.0, r=0.0, vol=vols) - marks)
    assert len(books) == 326
    assert np.median(off) < 4e-6
    assert off.max() < 1e-3
    implied = implied_volatility.black_76_implied_volatility(
        **given, forward=underlying, r=0.0, price=marks * underlying
    )
    steep = np.array([row not in implied.offences for row in range(326)]) & (marks > 0.01) & (marks < 0.2)
    assert steep.sum() > 100
    assert np.median(np.abs(implied.vol - vols)[steep]) < 1e-3
