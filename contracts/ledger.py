"""Double entry: the only code that changes a balance.

Rules:

1. A posting moves units of one asset at one account, free or locked. The postings of one entry sum to zero.
2. ``@issued`` is the issuers' liability: it stands at minus what circulates, and is the only account below zero.
3. ``@transit`` holds a payment between its two ends, ``@house`` (the counterparty of every position) what a settlement
   has collected and not yet paid out. Both are empty after every block.
4. ``@bond`` holds what stands behind validators (`contracts.bonds`), ``@slashed`` what their offences have cost.
5. What circulates of an asset is at most `SUPPLY_MINOR_MAX`, so no balance can leave 64 bits.

Sign convention: positive is a credit to the account.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from contracts.state import State
from contracts.tables import BalanceRow
from genesis.errors import Rejected, violated

ISSUED: Final = "@issued"
HOUSE: Final = "@house"
TRANSIT: Final = "@transit"
BOND: Final = "@bond"
SLASHED: Final = "@slashed"
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
