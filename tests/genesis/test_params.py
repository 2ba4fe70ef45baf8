"""Chain parameters: positive, bounded, and scaled where a span belongs to the wall."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from genesis.errors import Rejected
from genesis.params import ChainParams

NAMES = [each.name for each in fields(ChainParams)]
SCALED = {
    "block_time_ahead_ms_max",
    "envelope_lifetime_ms_max",
    "oracle_sample_ahead_ms_max",
    "settlement_delay_ms",
}


def test_a_fast_clock_stretches_the_spans_of_people_and_machines_alone() -> None:
    """Two minutes at the desk stay two minutes at the desk; the settlement window is market time and must not move."""
    params = ChainParams()
    fast = params.scaled(600)
    assert {name for name in NAMES if getattr(fast, name) != getattr(params, name)} == SCALED
    assert all(getattr(fast, name) == 600 * getattr(params, name) for name in SCALED)


def test_speed_one_changes_nothing() -> None:
    """A chain of today is held to the parameters as they are written."""
    assert ChainParams().scaled(1) == ChainParams()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, 2**48, True, 1.0, "1", None])
def test_a_parameter_is_a_positive_integer(name: str, value: Any) -> None:
    """A zero limit or a float would stop a chain, or split it, long after genesis."""
    with pytest.raises(Rejected) as caught:
        ChainParams(**{name: value})
    assert caught.value.code == "bad_parameter"
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("merkle_depth", 24),
        ("settlement_clamp_ppm", 1_000_000),
        ("settlement_coverage_min_ppm", 1_000_000),
        ("envelope_bytes_max", 2**20),
        ("envelope_operations_max", 4_096),
        ("batch_envelopes_max", 4_096),
        ("block_batches_max", 1_024),
        ("view_timeout_ms", ChainParams().view_timeout_ms_max),
    ],
)
def test_a_parameter_is_at_most_what_the_protocol_can_carry(name: str, most: int) -> None:
    """A chain whose limits exceed the encoding's would refuse its own messages long after genesis."""
    assert getattr(ChainParams(**{name: most}), name) == most
    with pytest.raises(Rejected, match="bad_parameter"):
        ChainParams(**{name: most + 1})


def test_a_timeout_never_shrinks() -> None:
    """With a factor below one, failing views would end sooner and sooner until none can succeed."""
    assert ChainParams(view_timeout_growth_ppm=1_000_000).view_timeout_growth_ppm == 1_000_000
    with pytest.raises(Rejected, match="bad_parameter"):
        ChainParams(view_timeout_growth_ppm=999_999)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_encoded_in_its_own_place(name: str) -> None:
    """The chain id hashes these values, so each must be in them once and in declaration order."""
    params = ChainParams()
    changed = replace(params, **{name: getattr(params, name) + 1})
    differing = [at for at, (a, b) in enumerate(zip(params.as_values(), changed.as_values(), strict=True)) if a != b]
    assert differing == [NAMES.index(name)]
