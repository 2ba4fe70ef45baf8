"""What members and issuers do with money itself: issue, redeem, transfer. Each is one entry of `contracts.ledger`."""

from __future__ import annotations

from contracts.ledger import ISSUED, SUPPLY_MINOR_MAX, balance, post
from contracts.operations import IssueAsset, RedeemAsset, Transfer
from contracts.step import Step, known, require_owner, require_role, require_sound
from genesis.errors import Rejected


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
