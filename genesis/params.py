"""Chain parameters: every limit and every interval that all validators must share, in one frozen record.

Spans marked *scaled* are stated for a clock that runs at speed 1. On a replay testnet, whose block time runs `speed`
times faster than the wall, `ChainParams.scaled` stretches them, so that two minutes at the desk stay two minutes at the
desk.
Market conventions (the settlement window, the clamp) belong to block time and are never scaled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

from genesis.codec import ARRAY_LENGTH_MAX
from genesis.errors import Rejected

_SCALED: Final = (
    "block_time_ahead_ms_max",
    "envelope_lifetime_ms_max",
    "oracle_sample_ahead_ms_max",
    "settlement_delay_ms",
)

PPM: Final = 1_000_000

BLOCK_BATCHES_MAX: Final = 1_024
BLOCK_BYTES_MAX: Final = 2**28
"""What the batches of one block may come to: a node holds a block in memory while it executes."""

BATCH_OVERHEAD_BYTES_MAX: Final = 64
"""What a batch of a single envelope is larger than the envelope, at most."""

ACCOUNTS_MAX: Final = 2**20
PROGRAMS_BYTES_MAX: Final = 2**29
CONTRACTS_MAX: Final = 2**21
CONTRACT_INPUTS_MAX: Final = 2**21
"""Of all members together, each with what it may have: a bound of the state, and of a node's memory."""
VALIDATORS_MAX: Final = 256

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000

_RANGES: Final[dict[str, tuple[int, int]]] = {
    "view_timeout_ms": (10, 10 * _MINUTE_MS),
    "view_timeout_ms_max": (10, 10 * _MINUTE_MS),
    "view_timeout_growth_ppm": (PPM, 10 * PPM),
    "resend_interval_ms": (10, _MINUTE_MS),
    "block_interval_idle_ms": (1, _MINUTE_MS),
    "block_interval_ms_min": (1, _MINUTE_MS),
    "block_time_ahead_ms_max": (1, _MINUTE_MS),
    "block_batches_max": (1, BLOCK_BATCHES_MAX),
    "broadcast_votes_validators_max": (1, 1_024),
    "sync_blocks_max": (1, 1_024),
    "batch_envelopes_max": (1, ARRAY_LENGTH_MAX),
    "batch_bytes_max": (1, 2**24),
    "batch_age_ms": (1, 10 * _MINUTE_MS),
    "batches_open_per_author_max": (1, 1_024),
    "batches_open_bytes_per_author_max": (65_536, 2**30),
    "mempool_envelopes_max": (1, 1_000_000),
    "envelope_bytes_max": (256, 2**20),
    "envelope_operations_max": (1, ARRAY_LENGTH_MAX),
    "envelope_lifetime_ms_max": (1_000, _DAY_MS),
    "merkle_depth": (1, 24),
    "members_max": (1, 65_536),
    "accounts_per_member_max": (1, 65_536),
    "assets_max": (1, 4_096),
    "indices_max": (1, 4_096),
    "series_max": (1, 1_000_000),
    "series_per_expiry_max": (1, 100_000),
    "positions_per_account_max": (1, 100_000),
    "oracle_samples_per_index_max": (1, 65_536),
    "oracle_sample_ahead_ms_max": (1, _MINUTE_MS),
    "settlement_window_ms": (1, _DAY_MS),
    "settlement_clamp_ppm": (1, PPM),
    "settlement_sample_validity_ms": (1, _DAY_MS),
    "settlement_coverage_min_ppm": (1, PPM),
    "settlement_delay_ms": (1, 10 * _MINUTE_MS),
    "settlement_grace_ms": (1, 7 * _DAY_MS),
    "epoch_blocks": (8, 1_000_000),
    "validators_max": (1, VALIDATORS_MAX),
    "validator_sets_max": (3, 16_384),
    "proposals_max": (1, 1_024),
    "proposals_per_validator_max": (1, 1_024),
    "proposal_epochs": (1, 10_000),
    "evidence_epochs": (1, 10_000),
    "offences_per_epoch_max": (1, 64),
    "slash_ppm": (1, PPM),
    "unbonding_epochs": (2, 20_000),
    "bonds_per_member_max": (1, 256),
    "program_bytes_per_member_max": (1_024, 2**24),
    "contracts_per_member_max": (1, 2**20),
    "contract_inputs_per_member_max": (1, 2**20),
    "contract_retention_blocks": (1, 10_000_000),
    "contract_gas_max": (16, 65_536),
}
"""From and to: what the encoding, the frames, the memory of a node or the meaning of a share allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainParams:
    """The parameters of one chain: integers, each within its range and in proportion to the others.

    Consensus
        view_timeout_ms: How long a view may take before a replica gives it up (wall clock).
        view_timeout_ms_max: The cap of the timeout's growth.
        view_timeout_growth_ppm: The factor by which repeated failures stretch it (1,500,000 = 1.5).
        resend_interval_ms: The beat on which timeouts and the best certificates are sent again.
        block_interval_idle_ms: How often an idle chain makes a block.
        block_interval_ms_min: The pace of views under load: a leader waits this long after the parent's arrival.
        block_time_ahead_ms_max: How far a block's time may be ahead of a voter's clock. *Scaled.*
        block_batches_max: Batches in one block.
        broadcast_votes_validators_max: Up to this many validators, votes go to everyone.
        sync_blocks_max: Blocks in one answer to a sync request.

    Batches
        batch_envelopes_max, batch_bytes_max, batch_age_ms: A batch is sealed at the first of these.
        batches_open_per_author_max: How many of one author's uncommitted batches a validator holds.
        batches_open_bytes_per_author_max: What they may take of its memory (`node.batches`), all together; one batch is
            always taken. The same for every author whatever its power: clients choose whom they give their
            transactions to. Half of it must hold what one validator seals between two commits.
        mempool_envelopes_max: Admitted envelopes that wait for a batch.

    Envelopes
        envelope_bytes_max, envelope_operations_max: One envelope's bounds.
        envelope_lifetime_ms_max: How far `expires_at_unix_ms` may be ahead of block time. *Scaled.*

    State
        merkle_depth: The state tree has ``2**merkle_depth`` buckets.
        members_max, accounts_per_member_max, assets_max, indices_max, series_max: Bounds of the registries.
        series_per_expiry_max, positions_per_account_max: Bounds of what one expiry step must do.

    Oracles and settlement
        oracle_samples_per_index_max: Reports kept for one index, an equal share for each oracle.
        oracle_sample_ahead_ms_max: How far an instant may be ahead of block time. *Scaled.*
        settlement_window_ms: The window before expiry over which the price is time-weighted.
        settlement_clamp_ppm: The time-weighted mean is clamped to the window's median plus and minus this.
        settlement_sample_validity_ms: A sample stands for its price this long unless a later one replaces it.
        settlement_coverage_min_ppm: The covered share of the window that a time-weighted price needs.
        settlement_delay_ms: How long late samples are awaited, from the first block at or after the expiry, before the
            price is computed. *Scaled.* Longer than a change of leaders takes, in which samples wait.
        settlement_grace_ms: After that, how long a short coverage is awaited before the fallback decides.

    Epochs and governance
        epoch_blocks: Blocks in an epoch; the validator set changes at its last one alone (`genesis.epochs`).
        validators_max: Validators in a set.
        validator_sets_max: Sets that the state keeps, the one in force included; the oldest leave first.
        proposals_max, proposals_per_validator_max: Proposals that wait, in all and of one proposer.
        proposal_epochs: For how many epochs after its own a proposal may still be approved.

    Bonds and evidence
        evidence_epochs: For how many epochs after an offence evidence of it is taken.
        offences_per_epoch_max: Offences of one validator in one epoch that are punished one by one.
        slash_ppm: The share of every deposit behind an offender that one offence costs, rounded up.
        unbonding_epochs: For how many epochs a withdrawn bond still answers for offences.
        bonds_per_member_max: Deposits that one member may have, over all validators and assets.

    Contracts
        program_bytes_per_member_max: Of the programs that a member holds, or is a party to contracts of.
        contracts_per_member_max: Contracts in the state, open or closed, to which a member is a party.
        contract_inputs_per_member_max: What all of these declare together.
        contract_retention_blocks: For how many blocks a closed contract stays in the state.
        contract_gas_max: What one run of a program may need (docs/CONTRACTS.md, section 2).
    """

    view_timeout_ms: int = 1_000
    view_timeout_ms_max: int = 8_000
    view_timeout_growth_ppm: int = 1_500_000
    resend_interval_ms: int = 500
    block_interval_idle_ms: int = 1_000
    block_interval_ms_min: int = 5
    block_time_ahead_ms_max: int = 1_000
    block_batches_max: int = 32
    broadcast_votes_validators_max: int = 16
    sync_blocks_max: int = 64

    batch_envelopes_max: int = 250
    batch_bytes_max: int = 1_048_576
    batch_age_ms: int = 2
    batches_open_per_author_max: int = 64
    batches_open_bytes_per_author_max: int = 33_554_432
    mempool_envelopes_max: int = 20_000

    envelope_bytes_max: int = 65_536
    envelope_operations_max: int = 128
    envelope_lifetime_ms_max: int = 120_000

    merkle_depth: int = 16
    members_max: int = 1_024
    accounts_per_member_max: int = 64
    assets_max: int = 64
    indices_max: int = 64
    series_max: int = 20_000
    series_per_expiry_max: int = 2_000
    positions_per_account_max: int = 10_000

    oracle_samples_per_index_max: int = 16_384
    oracle_sample_ahead_ms_max: int = 1_000
    settlement_window_ms: int = 1_800_000
    settlement_clamp_ppm: int = 5_000
    settlement_sample_validity_ms: int = 600_000
    settlement_coverage_min_ppm: int = 250_000
    settlement_delay_ms: int = 5_000
    settlement_grace_ms: int = 3_600_000

    epoch_blocks: int = 1_000
    validators_max: int = 128
    validator_sets_max: int = 1_024
    proposals_max: int = 64
    proposals_per_validator_max: int = 8
    proposal_epochs: int = 24

    evidence_epochs: int = 100
    offences_per_epoch_max: int = 8
    slash_ppm: int = 50_000
    unbonding_epochs: int = 120
    bonds_per_member_max: int = 8

    program_bytes_per_member_max: int = 262_144
    contracts_per_member_max: int = 1_024
    contract_inputs_per_member_max: int = 1_024
    contract_retention_blocks: int = 10_000
    contract_gas_max: int = 16_384

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise Rejected("bad_parameter", f"{name} is an integer from {least:_} to {most:_}.", value=str(value))
        _check_proportions(self)

    @property
    def settlement_reach_ms(self) -> int:
        """How long before an expiry an instant can still bear on its time-weighted price, in milliseconds."""
        return self.settlement_window_ms + self.settlement_sample_validity_ms

    def scaled(self, speed: int) -> ChainParams:
        """The parameters as they bind on a chain whose block time runs `speed` times faster than the wall.

        Only parameters as written are held to their ranges; what has been scaled follows from them.
        """
        if speed == 1:
            return self
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return _BindingParams(**{**values, **{name: values[name] * speed for name in _SCALED}})

    def as_values(self) -> tuple[int, ...]:
        """The fields in declaration order, for the canonical encoding."""
        return tuple(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class _BindingParams(ChainParams):
    """Parameters that were checked as written, with their spans scaled."""

    def __post_init__(self) -> None:
        """Their ranges hold for what is written, not for this."""


def _check_proportions(params: ChainParams) -> None:
    """What must hold between parameters."""
    for condition, rule in (
        (params.view_timeout_ms <= params.view_timeout_ms_max, "view_timeout_ms is at most view_timeout_ms_max"),
        (
            params.batch_bytes_max >= params.envelope_bytes_max + BATCH_OVERHEAD_BYTES_MAX,
            f"batch_bytes_max is at least envelope_bytes_max + {BATCH_OVERHEAD_BYTES_MAX}: a batch holds any envelope",
        ),
        (
            params.block_batches_max * params.batch_bytes_max <= BLOCK_BYTES_MAX,
            f"block_batches_max * batch_bytes_max is at most {BLOCK_BYTES_MAX:_}",
        ),
        *_shares(params),
        (
            params.unbonding_epochs > params.evidence_epochs,
            "unbonding_epochs is above evidence_epochs: evidence must find the bond still there",
        ),
        (
            params.validator_sets_max >= params.evidence_epochs + 2,
            "validator_sets_max is at least evidence_epochs + 2: evidence needs the set of its epoch",
        ),
    ):
        if not condition:
            raise Rejected("bad_parameter", f"{rule}.")


def _shares(params: ChainParams) -> Iterator[tuple[bool, str]]:
    """What every member may have must have room for all members: nobody's share depends on the others'."""
    for name, total_max in (
        ("accounts_per_member_max", ACCOUNTS_MAX),
        ("program_bytes_per_member_max", PROGRAMS_BYTES_MAX),
        ("contracts_per_member_max", CONTRACTS_MAX),
        ("contract_inputs_per_member_max", CONTRACT_INPUTS_MAX),
    ):
        fits = params.members_max * getattr(params, name) <= total_max
        yield fits, f"members_max * {name} is at most {total_max:_}"
