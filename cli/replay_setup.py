"""Bringing a testnet to the point at which a tape can be replayed: members, asset, index, series, deposits.

Every step looks first and does only what is missing, so a second replay, of another expiry, works on the same
testnet, and one that was interrupted goes on. What is there already must agree with what the replay needs, or it is
refused: a series of the same name with other terms is another series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cli.client import all_members, all_series
from cli.replay_journal import DEPOSIT, Funded, Journal
from cli.replay_once import Act, commit_once
from cli.replay_plan import MEMBERS, Plan
from cli.session import Session
from cli.tape import ASSET_DECIMALS, INDEX_TICK_DECIMALS, LOT_MINOR, PREMIUM_TICK_MINOR, Series
from cli.wallet import Wallet
from contracts.operations import build_operation
from genesis.envelope import Operation
from genesis.errors import Rejected
from genesis.signing import SigningKey

GOVERNOR: Final = "governor"
ISSUER: Final = "issuer"
ORACLES: Final = ("oracle0", "oracle1", "oracle2")
ORACLE_QUORUM: Final = 2
SETTLEMENT: Final = "inverse"


@dataclass(frozen=True, slots=True)
class Parties:
    """Who signs in a replay."""

    members: tuple[SigningKey, ...]
    oracles: tuple[SigningKey, ...]


def account_of(member: int) -> str:
    """The account that a member trades from."""
    return f"{MEMBERS[member]}/main"


def unlock_parties(wallet: Wallet) -> Parties:
    """The members' keys (made now if absent) and the oracles'."""
    return Parties(
        tuple(wallet.key_or_new(name) for name in MEMBERS),
        tuple(wallet.key(name) for name in ORACLES),
    )


def set_up(session: Session, wallet: Wallet, parties: Parties, plan: Plan, journal: Journal) -> Funded:
    """Register what is missing, issue the deposits unless that was done, and return the balances around them.

    Raises:
        Rejected: What the chain refuses, ``conflicting_setup``, or ``foreign_positions``.
    """
    missing = list(_missing(session, parties, plan))
    size = session.document.limits.envelope_operations_max
    for first in range(0, len(missing), size):
        session.apply([session.sign([wallet.key(GOVERNOR)], missing[first : first + size])])
    _check_band(plan, session.client.get(f"/v1/index/{plan.index}"))
    funded = journal.funded
    if funded is None:
        journal.check_alone(session.document.chain_id)
        _check_flat(session, plan)
        collateral = {name: int(each["collateral_minor"]) for name, each in _listed(session).items()}
        before = tuple(balance_minor(session, member, plan.asset) for member in range(len(MEMBERS)))
        funded = Funded(before, plan.deposits_minor(collateral))
        journal.fund(funded)
    issues = tuple(_issue(plan, member, minor) for member, minor in enumerate(funded.deposits_minor))
    (outcome,) = commit_once(session, journal, [Act(DEPOSIT, "deposit", 0, (wallet.key(ISSUER),), issues)])
    if not outcome.applied:
        raise Rejected(outcome.code or "refused", outcome.message, envelope=outcome.id)
    return funded


def _check_flat(session: Session, plan: Plan) -> None:
    """Refuse a replay whose members hold lots of its series already: the expiry would settle those too."""
    ours = {each.name for each in plan.series}
    for member in range(len(MEMBERS)):
        held = session.client.get(f"/v1/positions/{account_of(member)}")
        for each in held["positions"]:
            if each["series"] in ours and each["lots"]:
                raise Rejected(
                    "foreign_positions",
                    f"{account_of(member)} has traded {each['series']} already, and no journal of a replay here says "
                    "how: the totals would not be this tape's.",
                    lots=int(each["lots"]),
                    lots_expected=0,
                )


def balance_minor(session: Session, member: int, asset: str) -> int:
    """What a member's account holds, free and locked together, in minor units."""
    account = session.client.get(f"/v1/accounts/{account_of(member)}")
    held = account["balances"].get(asset, {"free_minor": 0, "locked_minor": 0})
    return int(held["free_minor"]) + int(held["locked_minor"])


def _missing(session: Session, parties: Parties, plan: Plan) -> Iterator[Operation]:
    """The governor's operations that the chain still needs, in an order in which they apply."""
    known = {each["member"]: each for each in all_members(session.client)}
    for name, key in zip(MEMBERS, parties.members, strict=True):
        if name not in known:
            yield build_operation("member.admit", {"member": name, "key": key.public_key.hex()})
        elif known[name]["public_key"] != key.public_key.hex():
            raise Rejected("conflicting_setup", f"The chain knows {name} under another key than this directory has.")
    yield from _missing_market(session, plan)
    listed = _listed(session)
    for series in plan.series:
        terms = _terms(plan, series)
        if series.name not in listed:
            yield build_operation("series.list", {name: str(value) for name, value in terms.items()})
        else:
            _check_same(series.name, terms, listed[series.name])


def _listed(session: Session) -> dict[str, Mapping[str, Any]]:
    """Every series that the chain lists, by name."""
    return {each["series"]: each for each in all_series(session.client)}


def _missing_market(session: Session, plan: Plan) -> Iterator[Operation]:
    """The asset and its index: registered together by the first replay, so that the index tells of both."""
    if session.client.find(f"/v1/index/{plan.index}") is None:
        yield build_operation("asset.register", {"asset": plan.asset, "decimals": str(ASSET_DECIMALS)})
        band = {"price_min_ticks": plan.price_min_ticks, "price_max_ticks": plan.price_max_ticks}
        terms = {"index": plan.index, "tick_decimals": INDEX_TICK_DECIMALS, **band, "oracle_quorum": ORACLE_QUORUM}
        yield build_operation("index.register", {name: str(value) for name, value in terms.items()})


def _terms(plan: Plan, series: Series) -> dict[str, str | int]:
    return {
        "series": series.name,
        "index": plan.index,
        "strike_ticks": series.strike_ticks,
        "expiry_unix_ms": series.expiry_unix_ms,
        "right": series.right,
        "settlement": SETTLEMENT,
        "asset": plan.asset,
        "lot_minor": LOT_MINOR,
        "premium_tick_minor": PREMIUM_TICK_MINOR,
    }


def _check_same(name: str, wanted: Mapping[str, str | int], found: Mapping[str, Any]) -> None:
    for term, value in wanted.items():
        if found[term] != value:
            raise Rejected(
                "conflicting_setup",
                f"The chain lists {name} with another {term}; use a fresh testnet.",
                wanted=value,
                found=str(found[term]),
            )


def _check_band(plan: Plan, band: Mapping[str, Any]) -> None:
    low, high = int(band["price_min_ticks"]), int(band["price_max_ticks"])
    for each in plan.samples:
        if not low <= each.price_ticks <= high:
            raise Rejected(
                "price_outside_band",
                f"A price lies outside the band that the index {plan.index} declares.",
                price_ticks=each.price_ticks,
                price_min_ticks=low,
                price_max_ticks=high,
            )


def _issue(plan: Plan, member: int, amount_minor: int) -> Operation:
    fields = {"asset": plan.asset, "account": account_of(member), "amount_minor": str(amount_minor)}
    return build_operation("asset.issue", fields)
