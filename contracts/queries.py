"""Answers about the state as plain values ready for JSON: money in minor units, prices in ticks and their decimals."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

from contracts.changes import plan, quorum_power, total_power
from contracts.governance import approved_changes, approving_power
from contracts.ledger import BOND, HOUSE, ISSUED, SLASHED, TRANSIT, balance
from contracts.operations import kind_of, parse_change
from contracts.oracle import last_priced
from contracts.state import State
from contracts.step import known
from contracts.tables import ProposalRow, SeriesRow
from genesis.document import GenesisValidator
from genesis.epochs import edge_height, epoch_of_block, first_height
from genesis.errors import Rejected
from genesis.evidence import Evidence, Offence, encode_evidence

Answer = dict[str, Any]

SERIES_PAGE_MAX: Final = 500
"""About what one answer may hold without keeping the state from the next block."""

SETTLED_PAGE_MAX: Final = 1_000
"""The positions of one page of a settlement."""

INDICES_PAGE_MAX: Final = 100
"""Indices in one answer."""

MEMBERS_PAGE_MAX: Final = 100
"""Each with its accounts."""

DEPOSITS_SHOWN_MAX: Final = 64
"""How many deposits behind one validator an answer shows, the accounts in ascending order."""

OFFENCES_SHOWN_MAX: Final = 64
"""How many punished offences one answer shows: those of the newest epochs."""

SETS_PAGE_MAX: Final = 16
"""How many validator sets one answer shows: the newest."""


def account(state: State, account_id: str) -> Answer:
    """The balances of one account, by asset; ``unknown_account`` if there is none."""
    row = None
    if account_id not in (BOND, HOUSE, ISSUED, SLASHED, TRANSIT):
        row = known(state.accounts, account_id, "account")
    balances = {}
    for asset in sorted(state.assets.rows):
        held = balance(state, account_id, asset)
        if held.free_minor or held.locked_minor:
            decimals = state.assets.rows[asset].decimals
            balances[asset] = {"free_minor": held.free_minor, "locked_minor": held.locked_minor, "decimals": decimals}
    return {"account": account_id, "member": row.member if row else "", "balances": balances}


def positions(state: State, account_id: str) -> Answer:
    """The open positions of one account: lots above zero are long."""
    known(state.accounts, account_id, "account")
    held = sorted(state.derived.held_by.get(account_id, ()))
    return {
        "account": account_id,
        "positions": [{"series": name, "lots": state.positions.rows[account_id, name].lots} for name in held],
    }


def series(state: State, series_id: str) -> Answer:
    """The terms and the open interest of one series; ``unknown_series``."""
    return _series(state, series_id, known(state.series, series_id, "series"))


def check_limit(limit: int, limit_max: int, what: str) -> None:
    """Refuse (``bad_limit``) a page of other than 1 to `limit_max` of what it holds."""
    if not 1 <= limit <= limit_max:
        raise Rejected("bad_limit", f"A page has 1 to {limit_max} {what}.", limit=limit)


def series_page(state: State, after: str = "", limit: int = SERIES_PAGE_MAX) -> Answer:
    """The terms of up to `limit` series in ascending order of name, beginning behind the name `after`.

    ``next`` is what to pass as `after` for the page that follows, or None when there is none.

    Raises:
        Rejected: ``bad_limit`` unless `limit` is from 1 to `SERIES_PAGE_MAX`.
    """
    check_limit(limit, SERIES_PAGE_MAX, "series")
    names = state.derived.series_names
    first = bisect_right(names, after)
    page = names[first : first + limit]
    return {
        "series": [_series(state, name, state.series.rows[name]) for name in page],
        "next": page[-1] if first + limit < len(names) else None,
    }


def _series(state: State, name: str, row: SeriesRow) -> Answer:
    interest = state.interest.rows.get(name)
    return {
        "series": name,
        "index": row.underlying,
        **{field: value for field, value in row._asdict().items() if field != "underlying"},
        "tick_decimals": state.indices.rows[row.underlying].tick_decimals,
        "asset_decimals": state.assets.rows[row.asset].decimals,
        "open_interest_lots": interest.lots if interest is not None else 0,
        "quarantined": ("expiry", row.underlying, row.expiry_unix_ms) in state.quarantine.rows,
    }


def indices(state: State, after: str = "", limit: int = INDICES_PAGE_MAX) -> Answer:
    """Up to `limit` indices, each as `index` tells of it, in order of name, beginning behind the name `after`.

    ``next`` is what to pass as `after` for the page that follows, or None when there is none.

    Raises:
        Rejected: ``bad_limit`` unless `limit` is from 1 to `INDICES_PAGE_MAX`.
    """
    check_limit(limit, INDICES_PAGE_MAX, "indices")
    names = sorted(each for each in state.indices.rows if each > after)
    page = names[:limit]
    return {"indices": [index(state, name) for name in page], "next": page[-1] if len(names) > limit else None}


def index(state: State, index_id: str) -> Answer:
    """The terms of an index, its last price and how many instants it holds; ``unknown_index``."""
    row = known(state.indices, index_id, "index")
    instants = state.derived.instants.get(index_id, [])
    last = last_priced(state, index_id, instants[-1]) if instants else None
    return {
        "index": index_id,
        **row._asdict(),
        "instants": len(instants),
        "last_instant_unix_ms": last[0] if last else None,
        "last_price_ticks": last[1] if last else None,
    }


def settlement(
    state: State, index_id: str, expiry_unix_ms: int, after: str = "", limit: int = SETTLED_PAGE_MAX
) -> Answer:
    """The settlement of one expiry, with what up to `limit` positions were worth.

    The positions are in order of series and account, beginning behind the one that `after` names, ``SERIES/ACCOUNT``;
    ``next`` is what to pass as `after` for the page that follows, or None. A series has an entry on each page that
    shows positions of it, and ``paid_minor`` there is the sum of what those got.

    Raises:
        Rejected: ``unknown_index``; ``not_settled`` before it has a price; ``bad_limit`` unless `limit` is from 1 to
            `SETTLED_PAGE_MAX`.
    """
    check_limit(limit, SETTLED_PAGE_MAX, "positions")
    terms = known(state.indices, index_id, "index")
    record = state.settlements.rows.get((index_id, expiry_unix_ms))
    if record is None:
        raise Rejected("not_settled", "This expiry has no settlement price.", index=index_id, expiry=expiry_unix_ms)
    page, following = _settled_page(state, (index_id, expiry_unix_ms), after, limit)
    return {
        "index": index_id,
        "expiry_unix_ms": expiry_unix_ms,
        **record._asdict(),
        "tick_decimals": terms.tick_decimals,
        "complete": (index_id, expiry_unix_ms) not in state.derived.unsettled,
        "series": [_settled(state, name, accounts) for name, accounts in page],
        "next": following,
    }


def _settled_page(
    state: State, expiry: tuple[str, int], after: str, limit: int
) -> tuple[list[tuple[str, list[str]]], str | None]:
    """The series and accounts of one page, and behind which position the next one begins."""
    series, _, account = after.partition("/")
    page: list[tuple[str, list[str]]] = []
    last, room = "", limit
    for name in sorted(each for each in state.derived.settled_series.get(expiry, ()) if each >= series):
        if not room:
            return page, last
        accounts = sorted(state.derived.settled_in.get(name, ()))
        left = accounts[bisect_right(accounts, account) :] if name == series else accounts
        if left or name != series:
            page.append((name, left[:room]))
        if len(left) > room:
            return page, f"{name}/{left[room - 1]}"
        room -= len(left)
        last = f"{name}/{left[-1]}" if left else last
    return page, None


def _settled(state: State, name: str, accounts: Sequence[str]) -> Answer:
    rows = [(each, state.settled.rows[name, each]) for each in accounts]
    return {
        "series": name,
        "asset": state.series.rows[name].asset,
        "paid_minor": sum(row.amount_minor for _account, row in rows if row.amount_minor > 0),
        "positions": [{"account": each, "lots": row.lots, "amount_minor": row.amount_minor} for each, row in rows],
    }


def members(state: State, after: str = "", limit: int = MEMBERS_PAGE_MAX) -> Answer:
    """Up to `limit` members with their keys and accounts, in order of name, beginning behind the name `after`.

    ``contracts``, ``contract_inputs`` and ``program_bytes`` are what counts against a member's limits
    (`contracts.holdings`). ``next`` is what to pass as `after` for the page that follows, or None when there is none.

    Raises:
        Rejected: ``bad_limit`` unless `limit` is from 1 to `MEMBERS_PAGE_MAX`.
    """
    check_limit(limit, MEMBERS_PAGE_MAX, "members")
    names = sorted(each for each in state.members.rows if each > after)
    page = [(name, state.members.rows[name]) for name in names[:limit]]
    return {
        "members": [
            {
                "member": name,
                "public_key": row.public_key.hex(),
                "accounts": sorted(state.derived.accounts_of[name]),
                **_share(state, name),
            }
            for name, row in page
        ],
        "next": page[-1][0] if len(names) > limit else None,
    }


def _share(state: State, member: str) -> Answer:
    share = state.holdings.share(member)
    return {
        "contracts": share.contracts,
        "contract_inputs": share.inputs,
        "program_bytes": share.program_bytes,
    }


def quarantined(state: State) -> Answer:
    """Every market in quarantine, since when and why."""
    return {
        "quarantined": [
            {"kind": kind, "name": name, "expiry_unix_ms": expiry_unix_ms, **row._asdict()}
            for (kind, name, expiry_unix_ms), row in sorted(state.quarantine.rows.items())
        ]
    }


def validators(state: State) -> Answer:
    """The validators of the state's epoch: power now and after the next edge, bonds, who is jailed."""
    present, planned = state.standing.validators, _planned(state)
    return {
        "epoch": state.epoch,
        "total_power": total_power(present),
        "quorum_power": quorum_power(present),
        "validators": [
            {
                "name": each.name,
                "public_key": each.public_key.hex(),
                "power": each.power,
                "next_power": planned.get(each.name, 0),
                "address": each.address,
                "jailed": each.name in state.jail.rows,
                **_bonds(state, each.name),
            }
            for each in present
        ],
        "joining": [{"name": name, "power": power} for name, power in planned.items() if not _is_in(present, name)],
        "jailed": sorted(state.jail.rows),
    }


def _bonds(state: State, validator: str) -> Answer:
    """What stands behind a validator: the sums by asset, and the first of its deposits."""
    rows: list[tuple[str, str, int, int]] = [
        (account, asset, 0, state.bonds.rows[name, account, asset].amount_minor)
        for name, account, asset in state.standing.bonds_of.get(validator, ())
    ]
    for key in state.standing.unbonding_of.get(validator, ()):
        release_epoch, _validator, account, asset = key
        rows.append((account, asset, release_epoch, state.unbonding.rows[key].amount_minor))
    assets = sorted({asset for _account, asset, _epoch, _amount in rows})
    return {
        "bonds": [
            {
                "asset": each,
                "deposited_minor": sum(amount for _a, asset, epoch, amount in rows if asset == each and not epoch),
                "releasing_minor": sum(amount for _a, asset, epoch, amount in rows if asset == each and epoch),
            }
            for each in assets
        ],
        "deposits": [
            {"account": account, "asset": asset, "amount_minor": amount, "release_epoch": epoch or None}
            for account, asset, epoch, amount in sorted(rows)[:DEPOSITS_SHOWN_MAX]
        ],
    }


def proposals(state: State) -> Answer:
    """Every proposal that waits: the approved first, in the order in which the edge carries them out."""
    rows = sorted(
        state.proposals.rows.items(), key=lambda item: (item[1].place or 2**32, item[1].opened_height, item[0])
    )
    return {
        "epoch": state.epoch,
        "edge_height": edge_height(state.epoch, state.limits.epoch_blocks),
        "quorum_power": quorum_power(state.standing.validators),
        "proposals": [_proposal(state, identity, row) for identity, row in rows],
    }


def _proposal(state: State, identity: bytes, row: ProposalRow) -> Answer:
    change, blocks = parse_change(row.change), state.limits.epoch_blocks
    kind = kind_of(change)
    last_epoch = epoch_of_block(row.opened_height, blocks) + state.limits.proposal_epochs
    return {
        "proposal": identity.hex(),
        "kind": kind.name,
        "fields": {each.name: _plain(getattr(change, each.name)) for each in kind.fields},
        "proposer": row.proposer,
        "opened_height": row.opened_height,
        "last_height": edge_height(last_epoch, blocks),
        "approved": bool(row.place),
        "approvals": list(row.approvals),
        "power": approving_power(state, row),
    }


def epochs(state: State) -> Answer:
    """Where the present epoch begins and ends, the newest validator sets, and what the next edge would make of them."""
    blocks, kept = state.limits.epoch_blocks, state.standing.first_epochs
    shown = [(first, state.validator_sets.rows[first]) for first in reversed(kept[-SETS_PAGE_MAX:])]
    return {
        "epoch": state.epoch,
        "height": state.height,
        "epoch_blocks": blocks,
        "first_height": first_height(state.epoch, blocks),
        "edge_height": edge_height(state.epoch, blocks),
        "next": [{"name": name, "power": power} for name, power in _planned(state).items()],
        "validator_sets": [
            {
                "first_epoch": first,
                "last_epoch": row.last_epoch,
                "validators": [
                    {"name": name, "public_key": key.hex(), "power": power} for name, key, power, *_rest in row.members
                ],
            }
            for first, row in shown
        ],
        "sets_kept": len(kept),
    }


def evidence(state: State, waiting: Sequence[Evidence]) -> Answer:
    """Evidence that waits at a node, the newest `OFFENCES_SHOWN_MAX` offences that were punished, and who is jailed.

    The `bytes` of what waits are what ``evidence.submit`` takes, from anyone who may.
    """
    punished = state.standing.offences[-OFFENCES_SHOWN_MAX:]
    return {
        "waiting": [
            {
                "evidence": each.id.hex(),
                **_offence(_name_of(state, each), each.epoch, each.offence, each.view),
                "bytes": encode_evidence(each).hex(),
            }
            for each in waiting
        ],
        "punished": [
            {
                "evidence": state.offences.rows[key].evidence_id.hex(),
                **_offence(key[1], key[0], Offence(key[2]), key[3]),
                "height": state.offences.rows[key].height,
            }
            for key in reversed(punished)
        ],
        "jailed": [
            {"validator": name, "since_epoch": row.since_epoch} for name, row in sorted(state.jail.rows.items())
        ],
    }


def _offence(validator: str, epoch: int, offence: Offence, view: int) -> Answer:
    return {"validator": validator, "epoch": epoch, "view": view, "offence": offence.name.lower()}


def _name_of(state: State, accusation: Evidence) -> str:
    """Who stood at the accused place in that epoch."""
    validators = state.standing.validators_of(accusation.epoch)
    return validators[accusation.validator].name


def _planned(state: State) -> dict[str, int]:
    """The powers after the next edge, if nothing else happens before it."""
    changes = [change for _identity, change in approved_changes(state)]
    after = plan(state.standing.validators, state.jail.rows, changes, state.limits.validators_max)
    return {each.name: each.power for each in after.members}


def _is_in(members: tuple[GenesisValidator, ...], name: str) -> bool:
    return any(each.name == name for each in members)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
