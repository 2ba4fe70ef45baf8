"""Chain parameters: every limit and every interval that all validators must share, in one frozen record.

Spans marked *scaled* are stated for a clock that runs at speed 1. On a replay testnet, whose block time runs `speed`
times faster than the wall, `ChainParams.scaled` stretches them, so that two minutes at the desk stay two minutes at the
desk.
Market conventions (the settlement window, the clamp) belong to block time and are never scaled.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
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

_AT_MOST: Final = {
    "merkle_depth": 24,
    "settlement_clamp_ppm": PPM,
    "settlement_coverage_min_ppm": PPM,
    "envelope_bytes_max": 2**20,
    "batch_envelopes_max": ARRAY_LENGTH_MAX,
    "envelope_operations_max": ARRAY_LENGTH_MAX,
    "block_batches_max": 1_024,
}
"""What the encoding, the memory of a node or the meaning of a share allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainParams:
    """The parameters of one chain. Every field is a positive integer.

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
        mempool_envelopes_max: Admitted envelopes that wait for a batch.

    Envelopes
        envelope_bytes_max, envelope_operations_max: One envelope's bounds.
        envelope_lifetime_ms_max: How far `expires_at_unix_ms` may be ahead of block time. *Scaled.*

    State
        merkle_depth: The state tree has ``2**merkle_depth`` buckets.
        members_max, accounts_per_member_max, assets_max, indices_max, series_max: Bounds of the registries.
        series_per_expiry_max, positions_per_account_max: Bounds of what one expiry step must do.

    Oracles and settlement
        oracle_samples_per_index_max: Instants kept for one index.
        oracle_sample_age_ms_max: How old an instant may be when its sample arrives (block time).
        oracle_sample_ahead_ms_max: How far an instant may be ahead of block time. *Scaled.*
        settlement_window_ms: The window before expiry over which the price is time-weighted.
        settlement_clamp_ppm: Prices are clamped to the window's median plus and minus this.
        settlement_sample_validity_ms: A sample stands for its price this long unless a later one replaces it.
        settlement_coverage_min_ppm: The covered share of the window that a time-weighted price needs.
        settlement_delay_ms: After expiry, how long late samples are awaited before the price is computed. *Scaled.*
        settlement_grace_ms: After that, how long a short coverage is awaited before the fallback decides.
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
    batch_age_ms: int = 5
    batches_open_per_author_max: int = 64
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
    oracle_sample_age_ms_max: int = 7_200_000
    oracle_sample_ahead_ms_max: int = 1_000
    settlement_window_ms: int = 1_800_000
    settlement_clamp_ppm: int = 5_000
    settlement_sample_validity_ms: int = 600_000
    settlement_coverage_min_ppm: int = 250_000
    settlement_delay_ms: int = 2_000
    settlement_grace_ms: int = 3_600_000

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not int or not 0 < value < 2**48:
                raise Rejected(
                    "bad_parameter",
                    f"Chain parameter {each.name} must be a positive integer below 2^48.",
                    value=str(value),
                )
        for name, most in _AT_MOST.items():
            if getattr(self, name) > most:
                raise Rejected("bad_parameter", f"{name} may be at most {most:_}.", value=getattr(self, name))
        if self.view_timeout_growth_ppm < PPM or self.view_timeout_ms > self.view_timeout_ms_max:
            raise Rejected(
                "bad_parameter",
                "A view's timeout may not shrink: view_timeout_growth_ppm is at least 1_000_000, and view_timeout_ms "
                "at most view_timeout_ms_max.",
                view_timeout_growth_ppm=self.view_timeout_growth_ppm,
                view_timeout_ms=self.view_timeout_ms,
                view_timeout_ms_max=self.view_timeout_ms_max,
            )

    def scaled(self, speed: int) -> ChainParams:
        """The parameters as they bind on a chain whose block time runs `speed` times faster than the wall."""
        return replace(self, **{name: getattr(self, name) * speed for name in _SCALED})

    def as_values(self) -> tuple[int, ...]:
        """The fields in declaration order, for the canonical encoding."""
        return tuple(getattr(self, each.name) for each in fields(self))
