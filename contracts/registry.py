"""Who and what exists: members and their accounts, assets, indices, series. Registered once, never changed."""

from __future__ import annotations

from typing import Final

from contracts.collateral import collateral_per_lot_minor
from contracts.ledger import SUPPLY_MINOR_MAX
from contracts.operations import AdmitMember, ListSeries, OpenAccount, RegisterAsset, RegisterIndex
from contracts.step import Step, known, require_new, require_role, require_sound
from contracts.tables import AccountRow, AssetRow, IndexRow, MemberRow, SeriesRow
from genesis.errors import Rejected

MAIN: Final = "main"
ACCOUNT_NAME_LENGTH_MAX: Final = 16


def admit_member(step: Step, operation: AdmitMember) -> None:
    """Admit a member and open its main account. A key signs for one member only, and for no role besides."""
    require_role(step, "governor")
    state, member, key = step.state, operation.member, operation.key
    require_new(state.members, member, "member", state.limits.members_max)
    if key in state.derived.member_of_key or key in state.roles_of:
        raise Rejected("key_taken", "This key signs for somebody else already.", key=key.hex())
    state.members.put(member, MemberRow(key))
    account = f"{member}/{MAIN}"
    state.accounts.put(account, AccountRow(member))
    step.emit("member_admitted", member=member, account=account)


def open_account(step: Step, operation: OpenAccount) -> None:
    """Open a sub-account of the member that signs."""
    state, account = step.state, operation.account
    member, slash, name = account.partition("/")
    if not slash or "/" in name or not 0 < len(name) <= ACCOUNT_NAME_LENGTH_MAX:
        raise Rejected(
            "bad_account", "An account is written MEMBER/NAME, the name in 1 to 16 letters.", account=account
        )
    if known(state.members, member, "member").public_key not in step.signers:
        raise Rejected("missing_signature", "The account's member must sign.", account=account, member=member)
    opened = len(state.derived.accounts_of[member])
    if opened >= state.limits.accounts_per_member_max and account not in state.accounts.rows:
        raise Rejected("limit_reached", "The member has as many accounts as it may.", count_max=opened)
    require_new(state.accounts, account, "account", state.limits.members_max * state.limits.accounts_per_member_max)
    state.accounts.put(account, AccountRow(member))
    step.emit("account_opened", account=account)


def register_asset(step: Step, operation: RegisterAsset) -> None:
    """Register an asset."""
    require_role(step, "governor")
    state = step.state
    require_new(state.assets, operation.asset, "asset", state.limits.assets_max)
    state.assets.put(operation.asset, AssetRow(operation.decimals))
    step.emit("asset_registered", asset=operation.asset, decimals=operation.decimals)


def register_index(step: Step, operation: RegisterIndex) -> None:
    """Register a price index with its band and its quorum of oracles."""
    require_role(step, "governor")
    state = step.state
    require_new(state.indices, operation.index, "index", state.limits.indices_max)
    low, high, quorum = operation.price_min_ticks, operation.price_max_ticks, operation.oracle_quorum
    if low > high:
        raise Rejected("bad_band", "The band's lower end is above its upper end.", low_ticks=low, high_ticks=high)
    if quorum > len(state.oracles):
        raise Rejected("bad_quorum", "There are fewer oracles than that.", quorum=quorum, oracles=len(state.oracles))
    state.indices.put(operation.index, IndexRow(operation.tick_decimals, low, high, quorum))
    step.emit("index_registered", index=operation.index)


def list_series(step: Step, operation: ListSeries) -> None:
    """List a series; the names of settled ones stay taken."""
    require_role(step, "governor")
    state, limits, expiry_unix_ms = step.state, step.state.limits, operation.expiry_unix_ms
    require_new(state.series, operation.series, "series", 2**32)
    index = known(state.indices, operation.index, "index")
    known(state.assets, operation.asset, "asset")
    require_sound(step, "asset", operation.asset)
    require_sound(step, "expiry", operation.index, expiry_unix_ms)
    if expiry_unix_ms <= step.time_unix_ms:
        raise Rejected(
            "bad_expiry",
            "The expiry is not in the future.",
            expiry_unix_ms=expiry_unix_ms,
            block_time_unix_ms=step.time_unix_ms,
        )
    siblings = len(state.derived.unsettled.get((operation.index, expiry_unix_ms), ()))
    if state.derived.live_series >= limits.series_max:
        raise Rejected("limit_reached", "No more series may be listed.", count_max=limits.series_max)
    if siblings >= limits.series_per_expiry_max:
        raise Rejected("limit_reached", "This expiry has as many series as it may.", count_max=siblings)
    row = _series_row(operation, index)
    state.series.put(operation.series, row)
    step.emit("series_listed", series=operation.series, collateral_minor=row.collateral_minor)


def _series_row(operation: ListSeries, index: IndexRow) -> SeriesRow:
    terms = SeriesRow(
        operation.index,
        operation.strike_ticks,
        operation.expiry_unix_ms,
        operation.right,
        operation.settlement,
        operation.asset,
        operation.lot_minor,
        operation.premium_tick_minor,
        collateral_minor=0,
        settled=False,
    )
    collateral = collateral_per_lot_minor(terms, index)
    if collateral > SUPPLY_MINOR_MAX:
        raise Rejected(
            "collateral_limit",
            "Nobody could ever cover one short lot; narrow the index's band or make the lot smaller.",
            collateral_minor=collateral,
        )
    return terms._replace(collateral_minor=collateral)
