"""Chain parameters: positive, bounded, and scaled where a span belongs to the wall."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from genesis.codec import encode
from genesis.document import SPEED_MAX
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


MINUTE_MS, DAY_MS = 60_000, 86_400_000
SMALL_SHARES = {
    "accounts_per_member_max": 16,
    "program_bytes_per_member_max": 4_096,
    "contracts_per_member_max": 16,
    "contract_inputs_per_member_max": 16,
}
SMALL_BATCHES = {"batch_bytes_max": 2**18}
RANGES: list[tuple[str, int, int, dict[str, int]]] = [
    ("view_timeout_ms", 10, 600_000, {"view_timeout_ms_max": 600_000}),
    ("view_timeout_ms_max", 10, 600_000, {"view_timeout_ms": 10}),
    ("view_timeout_growth_ppm", 1_000_000, 10_000_000, {}),
    ("resend_interval_ms", 10, MINUTE_MS, {}),
    ("block_interval_idle_ms", 1, MINUTE_MS, {}),
    ("block_interval_ms_min", 1, MINUTE_MS, {}),
    ("block_time_ahead_ms_max", 1, MINUTE_MS, {}),
    ("block_batches_max", 1, 1_024, SMALL_BATCHES),
    ("broadcast_votes_validators_max", 1, 1_024, {}),
    ("sync_blocks_max", 1, 1_024, {}),
    ("batch_envelopes_max", 1, 4_096, {}),
    ("batch_bytes_max", 65_536 + 64, 2**24, {"block_batches_max": 16}),
    ("batch_age_ms", 1, 10 * MINUTE_MS, {}),
    ("batches_open_per_author_max", 1, 1_024, {}),
    ("batches_open_bytes_per_author_max", 65_536, 2**30, {}),
    ("mempool_envelopes_max", 1, 1_000_000, {}),
    ("envelope_bytes_max", 256, 2**20, {"batch_bytes_max": 2**20 + 64}),
    ("envelope_operations_max", 1, 4_096, {}),
    ("envelope_lifetime_ms_max", 1_000, DAY_MS, {}),
    ("merkle_depth", 1, 24, {}),
    ("members_max", 1, 65_536, SMALL_SHARES),
    ("accounts_per_member_max", 1, 65_536, {"members_max": 16}),
    ("assets_max", 1, 4_096, {}),
    ("indices_max", 1, 4_096, {}),
    ("series_max", 1, 1_000_000, {}),
    ("series_per_expiry_max", 1, 100_000, {}),
    ("positions_per_account_max", 1, 100_000, {}),
    ("oracle_samples_per_index_max", 1, 65_536, {}),
    ("oracle_sample_ahead_ms_max", 1, MINUTE_MS, {}),
    ("settlement_window_ms", 1, DAY_MS, {}),
    ("settlement_clamp_ppm", 1, 1_000_000, {}),
    ("settlement_sample_validity_ms", 1, DAY_MS, {}),
    ("settlement_coverage_min_ppm", 1, 1_000_000, {}),
    ("settlement_delay_ms", 1, 10 * MINUTE_MS, {}),
    ("settlement_grace_ms", 1, 7 * DAY_MS, {}),
    ("epoch_blocks", 8, 1_000_000, {}),
    ("validators_max", 1, 256, {}),
    ("validator_sets_max", 3, 16_384, {"evidence_epochs": 1}),
    ("proposals_max", 1, 1_024, {}),
    ("proposals_per_validator_max", 1, 1_024, {}),
    ("proposal_epochs", 1, 10_000, {}),
    ("evidence_epochs", 1, 10_000, {"unbonding_epochs": 10_001, "validator_sets_max": 10_002}),
    ("offences_per_epoch_max", 1, 64, {}),
    ("slash_ppm", 1, 1_000_000, {}),
    ("unbonding_epochs", 2, 20_000, {"evidence_epochs": 1}),
    ("bonds_per_member_max", 1, 256, {}),
    ("program_bytes_per_member_max", 1_024, 2**24, {"members_max": 32}),
    ("contracts_per_member_max", 1, 2**20, {"members_max": 2}),
    ("contract_inputs_per_member_max", 1, 2**20, {"members_max": 2}),
    ("contract_retention_blocks", 1, 10_000_000, {}),
    ("contract_gas_max", 16, 65_536, {}),
]


def test_every_parameter_has_a_range() -> None:
    """One that was forgotten here would be one that a genesis document may set to anything."""
    assert [row[0] for row in RANGES] == NAMES


@pytest.mark.parametrize(("name", "least", "most", "others"), RANGES, ids=NAMES)
def test_a_parameter_stays_within_what_a_node_can_carry(
    name: str, least: int, most: int, others: dict[str, int]
) -> None:
    """Beyond the encoding's, a frame's or the memory's limits every node would fail, long after genesis."""
    for value in (least, most):
        assert getattr(ChainParams(**{**others, name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(Rejected, match="bad_parameter"):
            ChainParams(**{**others, name: value})


@pytest.mark.parametrize(
    ("fits", "breaks"),
    [
        ({"view_timeout_ms": 8_000}, {"view_timeout_ms": 8_001}),
        ({"batch_bytes_max": 65_600}, {"batch_bytes_max": 65_599}),
        ({"envelope_bytes_max": 2**20 - 64}, {"envelope_bytes_max": 2**20 - 63}),
        ({"block_batches_max": 256}, {"block_batches_max": 257}),
        ({"members_max": 2_048}, {"members_max": 2_049}),
        ({"accounts_per_member_max": 1_024}, {"accounts_per_member_max": 1_025}),
        ({"program_bytes_per_member_max": 2**19}, {"program_bytes_per_member_max": 2**19 + 1}),
        ({"contracts_per_member_max": 2_048}, {"contracts_per_member_max": 2_049}),
        ({"contract_inputs_per_member_max": 2_048}, {"contract_inputs_per_member_max": 2_049}),
        ({"unbonding_epochs": 101}, {"unbonding_epochs": 100}),
        ({"validator_sets_max": 102}, {"validator_sets_max": 101}),
    ],
)
def test_parameters_are_in_proportion(fits: dict[str, int], breaks: dict[str, int]) -> None:
    """An envelope that no batch can hold stops every validator that one client sends it to."""
    ChainParams(**fits)
    with pytest.raises(Rejected) as caught:
        ChainParams(**breaks)
    assert caught.value.code == "bad_parameter"
    assert next(iter(breaks)) in caught.value.message


def test_the_largest_envelope_fits_into_a_batch_of_the_smallest_size() -> None:
    """The proportion above is what the wire format needs, to the byte."""
    params = ChainParams(batch_bytes_max=65_600)
    wire = encode((255, 2**64 - 1, [bytes(params.envelope_bytes_max)]))
    assert len(wire) <= params.batch_bytes_max


def test_the_fastest_clock_carries_the_longest_spans() -> None:
    """What is allowed as written must bind on every chain; block time has 48 bits."""
    spans = {row[0]: row[2] for row in RANGES if row[0] in SCALED}
    fast = ChainParams(**spans).scaled(SPEED_MAX)
    assert all(getattr(fast, name) == most * SPEED_MAX < 2**48 for name, most in spans.items())


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
