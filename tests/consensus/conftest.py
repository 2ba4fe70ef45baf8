"""Fixtures of the consensus tests."""

from __future__ import annotations

import pytest

from tests.consensus.cluster import fast_is_valid


@pytest.fixture
def fast_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace Ed25519 in the core by the keyed digest of the simulated cluster."""
    monkeypatch.setattr("consensus.certificates.is_valid", fast_is_valid)
