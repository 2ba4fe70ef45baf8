"""Bonds: money that members put behind a validator, and that an offence of the validator costs them.

Rules:

1. A deposit moves free units to ``@bond``, whose balance is always the sum of all deposits and of all that is withdrawn
   and not released (`contracts.conservation` checks it). What an offence takes goes to ``@slashed`` and stays there.
2. A withdrawn amount is released `unbonding_epochs` later, at the edge into that epoch. Until then it answers for the
   validator as before. Since evidence is taken for `evidence_epochs`, which is less, no offence outlives its bond.
3. All that stands behind an offender answers, whoever deposited it and when: each deposit and each amount in release
   loses `slash_ppm` of what it is now, *rounded up*, so that no deposit is too small to lose.
4. What is released, or slashed, is bounded in a block by `RELEASES_PER_BLOCK_MAX`, and by what members may deposit.
"""

from __future__ import annotations

from typing import Final

from contracts.ledger import BOND, SLASHED, post
from contracts.operations import KINDS
from contracts.operations_governance import DepositBond, WithdrawBond
from contracts.state import State
from contracts.step import Step, known, require_owner, require_sound
from contracts.tables import BondRow, UnbondingRow
from genesis.errors import Rejected
from genesis.params import PPM

RELEASES_PER_BLOCK_MAX: Final = 1_000
_ADD: Final = KINDS["validator.add"].code


def deposit(step: Step, operation: DepositBond) -> None:
    """Put free units behind a validator, or behind one that is proposed."""
    state, account, asset, amount = step.state, operation.account, operation.asset, operation.amount_minor
    known(state.assets, asset, "asset")
    require_owner(step, account)
    require_sound(step, "asset", asset)
    _require_candidate(state, operation.validator)
    key = (operation.validator, account, asset)
    row = state.bonds.rows.get(key)
    if row is None:
        _require_room(state, account)
    post(state, asset, ((account, -amount, 0), (BOND, amount, 0)))
    state.bonds.put(key, BondRow(amount + (row.amount_minor if row is not None else 0)))
    step.emit("bond_deposited", validator=operation.validator, account=account, asset=asset, amount_minor=amount)


def withdraw(step: Step, operation: WithdrawBond) -> None:
    """Begin the release of a deposit, or of a part of it."""
    state, account, asset, amount = step.state, operation.account, operation.asset, operation.amount_minor
    require_owner(step, account)
    require_sound(step, "asset", asset)
    key = (operation.validator, account, asset)
    held = state.bonds.rows.get(key, BondRow(0)).amount_minor
    if amount > held:
        raise Rejected("insufficient_bond", "The deposit is smaller.", needed_minor=amount, available_minor=held)
    release_epoch = state.epoch + state.limits.unbonding_epochs
    later = (release_epoch, *key)
    waiting = state.unbonding.rows.get(later, UnbondingRow(0)).amount_minor
    state.bonds.put(key, BondRow(held - amount) if held > amount else None)
    state.unbonding.put(later, UnbondingRow(waiting + amount))
    step.emit(
        "bond_withdrawn",
        validator=operation.validator,
        account=account,
        asset=asset,
        amount_minor=amount,
        release_epoch=release_epoch,
    )


def release_due(step: Step, epoch: int) -> None:
    """Pay out what is due in `epoch`, the oldest first; what exceeds the block's bound waits for the next."""
    state = step.state
    for key in _due(state, epoch):
        _release_epoch, validator, account, asset = key
        amount = state.unbonding.rows[key].amount_minor
        state.unbonding.put(key, None)
        post(state, asset, ((BOND, -amount, 0), (account, amount, 0)))
        step.emit("bond_released", validator=validator, account=account, asset=asset, amount_minor=amount)


def work_due(state: State, epoch: int) -> int:
    """How many payments `release_due` would make."""
    return len(_due(state, epoch))


def slash(step: Step, validator: str) -> dict[str, int]:
    """Rule 3; what was taken, by asset."""
    state, ppm = step.state, step.state.limits.slash_ppm
    taken: dict[str, int] = {}
    for key in sorted(state.standing.bonds_of.get(validator, ())):
        held = state.bonds.rows[key].amount_minor
        cut = _cut(held, ppm)
        state.bonds.put(key, BondRow(held - cut) if held > cut else None)
        taken[key[2]] = taken.get(key[2], 0) + cut
    for later in sorted(state.standing.unbonding_of.get(validator, ())):
        held = state.unbonding.rows[later].amount_minor
        cut = _cut(held, ppm)
        state.unbonding.put(later, UnbondingRow(held - cut) if held > cut else None)
        taken[later[3]] = taken.get(later[3], 0) + cut
    for asset, amount in sorted(taken.items()):
        post(state, asset, ((BOND, -amount, 0), (SLASHED, amount, 0)))
        step.emit("bond_slashed", validator=validator, asset=asset, amount_minor=amount)
    return taken


def _cut(amount_minor: int, ppm: int) -> int:
    """The share of an amount, rounded up; never above it, since `ppm` is at most a million."""
    return -(-amount_minor * ppm // PPM)


def _due(state: State, epoch: int) -> list[tuple[int, str, str, str]]:
    waiting, due = state.standing.unbonding, 0
    while due < min(len(waiting), RELEASES_PER_BLOCK_MAX) and waiting[due][0] <= epoch:
        due += 1
    return waiting[:due]


def _require_candidate(state: State, validator: str) -> None:
    """Refuse a name that no validator has, had until it was jailed, or is proposed to have (``unknown_validator``)."""
    if validator in state.jail.rows or any(each.name == validator for each in state.standing.validators):
        return
    if any(row.change[:2] == (_ADD, validator) for row in state.proposals.rows.values()):
        return
    raise Rejected("unknown_validator", "There is no validator of this name.", validator=validator)


def _require_room(state: State, account: str) -> None:
    member, most = state.accounts.rows[account].member, state.limits.bonds_per_member_max
    if state.standing.bond_count.get(member, 0) >= most:
        raise Rejected("limit_reached", "The member has as many deposits as it may.", member=member, count_max=most)
