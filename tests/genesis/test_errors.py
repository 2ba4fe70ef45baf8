"""Whose fault a failure is must never be mixed up, and an error must say what was compared."""

from __future__ import annotations

import pytest

from genesis.errors import InvariantViolation, Rejected, invariant, violated


def test_a_rejection_shows_its_code_its_sentence_and_its_values() -> None:
    """Programs read the code, people the sentence, and both the values that were compared."""
    rejection = Rejected("too_large", "The value is over its size limit.", size=11, size_max=10)
    assert str(rejection) == "too_large: The value is over its size limit. (size=11, size_max=10)"
    assert (rejection.code, rejection.details) == ("too_large", {"size": 11, "size_max": 10})
    assert str(Rejected("expired", "Sign it again.")) == "expired: Sign it again."


def test_our_own_fault_passes_every_handler_of_ordinary_errors() -> None:
    """A broken invariant must stop the process, not be answered to a peer."""
    assert not issubclass(InvariantViolation, Exception)
    assert not issubclass(Rejected, InvariantViolation)


def test_invariant_stops_only_what_breaks_it() -> None:
    """It replaces assert, and must hold under python -O as well."""
    invariant(True, "one is one")
    with pytest.raises(InvariantViolation, match=r"balances sum to zero \(total=1, asset='BTC'\)"):
        invariant(False, "balances sum to zero", total=1, asset="BTC")
    with pytest.raises(InvariantViolation, match="unreachable"):
        violated("unreachable")
