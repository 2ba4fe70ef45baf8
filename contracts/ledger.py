"""Double entry: the only code that changes a balance.

Rules:

1. A posting moves units of one asset at one account, free or locked. The postings of one entry sum to zero.
2. ``@issued`` is the issuers' liability: it stands at minus what circulates, and is the only account below zero.
3. ``@transit`` holds a payment between its two ends, ``@house`` (the counterparty of every position) what a settlement
   has collected and not yet paid out. Both are empty after every block.
4. What circulates of an asset is at most `SUPPLY_MINOR_MAX`, so no balance can leave 64 bits.

Sign convention: positive is a credit to the account.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from contracts.operations import IssueAsset, RedeemAsset, Transfer
from contracts.state import State
from contracts.step import Step, known, require_owner, require_role, require_sound
from contracts.tables import BalanceRow
from genesis.errors import Rejected, violated

ISSUED: Final = "@issued"
HOUSE: Final = "@house"
TRANSIT: Final = "@transit"
SUPPLY_MINOR_MAX: Final = 2**62

NOTHING: Final = BalanceRow(0, 0)

Posting = tuple[str, int, int]
"""(account, change of free units, change of locked units)."""


def post(state: State, asset: str, postings: Iterable[Posting]) -> None:
    """Make one entry of the ledger: every posting, or none.

    Raises:
        Rejected: ``insufficient_funds``: an account's free units do not suffice (the machine undoes the rest).
        InvariantViolation: The postings do not sum to zero, or take more locked units than there are.
    """
    balances = state.balances
    rows = balances.rows
    total = 0
    for account, free_change, locked_change in postings:
        key = (account, asset)
        before = rows.get(key, NOTHING)
        free = before.free_minor + free_change
        locked = before.locked_minor + locked_change
        if free < 0 and free_change < 0 and account != ISSUED:
            raise _insufficient(account, asset, -free_change, before.free_minor)
        if locked < 0:
            violated("More collateral is released than is locked.", account=account, asset=asset)
        balances.put(key, BalanceRow(free, locked) if free or locked else None)
        total += free_change + locked_change
    if total:
        violated("The postings of an entry do not sum to zero.", asset=asset, total=total)


def balance(state: State, account: str, asset: str) -> BalanceRow:
    """What `account` holds of `asset`."""
    return state.balances.rows.get((account, asset), NOTHING)


def _insufficient(account: str, asset: str, needed: int, available: int) -> Rejected:
    return Rejected(
        "insufficient_funds",
        "The account's free balance does not suffice.",
        account=account,
        asset=asset,
        needed_minor=needed,
        available_minor=available,
    )


def issue(step: Step, operation: IssueAsset) -> None:
    """Put units into circulation."""
    require_role(step, "issuer")
    state, asset, amount = step.state, operation.asset, operation.amount_minor
    known(state.assets, asset, "asset")
    known(state.accounts, operation.account, "account")
    require_sound(step, "asset", asset)
    supply = amount - balance(state, ISSUED, asset).free_minor
    if supply > SUPPLY_MINOR_MAX:
        raise Rejected("supply_limit", "More would circulate than may.", supply=supply, supply_max=SUPPLY_MINOR_MAX)
    post(state, asset, ((ISSUED, -amount, 0), (operation.account, amount, 0)))
    step.emit("issued", asset=asset, account=operation.account, amount_minor=amount)


def redeem(step: Step, operation: RedeemAsset) -> None:
    """Take units out of circulation, with the consent of the issuer and of the holder."""
    require_role(step, "issuer")
    state, asset, amount = step.state, operation.asset, operation.amount_minor
    known(state.assets, asset, "asset")
    require_owner(step, operation.account)
    require_sound(step, "asset", asset)
    post(state, asset, ((operation.account, -amount, 0), (ISSUED, amount, 0)))
    step.emit("redeemed", asset=asset, account=operation.account, amount_minor=amount)


def transfer(step: Step, operation: Transfer) -> None:
    """Move free units from one account to another."""
    state, asset, amount = step.state, operation.asset, operation.amount_minor
    known(state.assets, asset, "asset")
    require_owner(step, operation.source)
    known(state.accounts, operation.destination, "account")
    if operation.source == operation.destination:
        raise Rejected("same_account", "Source and destination are one account.", account=operation.source)
    require_sound(step, "asset", asset)
    post(state, asset, ((operation.source, -amount, 0), (operation.destination, amount, 0)))
    step.emit(
        "transferred", asset=asset, source=operation.source, destination=operation.destination, amount_minor=amount
    )
