"""What a replay came to: the settlement price, every member's money, and whether it all adds up.

Rules:

1. The report states what the chain holds, not what the plan hoped: the settlement price and amounts come from the
   chain's settlement record, `final_minor` from the change of each account's balance less its deposit.
2. Premiums come from the trades that the chain applied; the sign convention is money received above zero, paid below.
3. `conserved` is true if premiums, settlements and final amounts each sum to zero over all members, and for every
   member ``final = premium + settlement`` to the last minor unit.
4. There is no report where a member settled other lots than the tape's trades come to: premiums and settlements would
   be of different trades.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.output import Amount, Output
from cli.replay_journal import Driven, Funded
from cli.replay_plan import MEMBERS, Plan
from cli.replay_setup import account_of
from cli.tape import INDEX_TICK_DECIMALS
from genesis.errors import Rejected


@dataclass(frozen=True, slots=True)
class MemberTotal:
    """One member's money in minor units; see the rules above for the signs."""

    premium_minor: int
    settlement_minor: int
    deposit_minor: int
    balance_minor: int
    final_minor: int


@dataclass(frozen=True, slots=True)
class Report:
    """A settled replay.

    Attributes:
        plan: What was replayed.
        driven: What was sent.
        price_ticks: The settlement price; None if there never was one and the expiry was void.
        coverage_ppm: The share of the settlement window that samples covered.
        source: Which rung of the fallback ladder gave the price.
        members: By place in `MEMBERS`.
        height, state_root: The agreed state.
    """

    plan: Plan
    driven: Driven
    price_ticks: int | None
    coverage_ppm: int
    source: str
    members: tuple[MemberTotal, ...]
    height: int
    state_root: str

    @property
    def settlement_price(self) -> float | None:
        """In US dollars, for JSON and for people; no money is computed from it."""
        return None if self.price_ticks is None else self.price_ticks / 10**INDEX_TICK_DECIMALS

    @property
    def conserved(self) -> bool:
        """Rule 3."""
        return is_conserved(self.members)

    def document(self) -> dict[str, Any]:
        """What ``replay --json`` prints."""
        return {
            "expiry": self.plan.expiry,
            "series": len(self.plan.series),
            "trades": self.driven.trades,
            "settlement_price": self.settlement_price,
            "members": {
                name: {
                    "premium_minor": each.premium_minor,
                    "settlement_minor": each.settlement_minor,
                    "final_minor": each.final_minor,
                    "deposit_minor": each.deposit_minor,
                    "balance_minor": each.balance_minor,
                }
                for name, each in zip(MEMBERS, self.members, strict=True)
            },
            "conserved": self.conserved,
            "height": self.height,
            "state_root": self.state_root,
            "asset": self.plan.asset,
            "coverage_ppm": self.coverage_ppm,
            "source": self.source,
            "samples": self.driven.samples,
            "samples_refused": self.driven.samples_refused,
            "refusals": dict(self.driven.refusals),
        }


def is_conserved(members: Sequence[MemberTotal]) -> bool:
    """Rule 3."""
    sums = (
        sum(each.premium_minor for each in members),
        sum(each.settlement_minor for each in members),
        sum(each.final_minor for each in members),
    )
    consistent = all(each.final_minor == each.premium_minor + each.settlement_minor for each in members)
    return consistent and not any(sums)


def premiums_minor(plan: Plan) -> tuple[int, ...]:
    """Each member's premiums received less paid, over every trade of the plan."""
    totals = [0] * len(MEMBERS)
    for each in plan.trades:
        totals[each.seller] += each.trade.premium_minor
        totals[each.buyer] -= each.trade.premium_minor
    return tuple(totals)


def check_positions(plan: Plan, record: Mapping[str, Any]) -> None:
    """Rule 4.

    Raises:
        Rejected: ``foreign_positions``, with what was settled and what the tape's trades come to.
    """
    expected: Counter[tuple[str, str]] = Counter()
    for each in plan.trades:
        expected[each.trade.series.name, account_of(each.buyer)] += each.trade.quantity_lots
        expected[each.trade.series.name, account_of(each.seller)] -= each.trade.quantity_lots
    accounts = {account_of(member) for member in range(len(MEMBERS))}
    found = {
        (series["series"], each["account"]): int(each["lots"])
        for series in record["series"]
        for each in series["positions"]
        if each["account"] in accounts
    }
    for series, account in sorted(expected.keys() | found.keys()):
        lots, lots_expected = found.get((series, account), 0), expected[series, account]
        if lots != lots_expected:
            raise Rejected(
                "foreign_positions",
                f"{account} settled other lots of {series} than the tape's trades come to; no totals are given.",
                lots=lots,
                lots_expected=lots_expected,
            )


def settlements_minor(record: Mapping[str, Any]) -> tuple[int, ...]:
    """Each member's settlement amounts, from the chain's record of the expiry."""
    totals = dict.fromkeys((account_of(member) for member in range(len(MEMBERS))), 0)
    for series in record["series"]:
        for each in series["positions"]:
            if each["account"] in totals:
                totals[each["account"]] += int(each["amount_minor"])
    return tuple(totals.values())


def member_totals(
    plan: Plan, record: Mapping[str, Any], funded: Funded, balances_minor: tuple[int, ...]
) -> tuple[MemberTotal, ...]:
    """Bring premiums, settlements and balances together.

    Args:
        plan: What was replayed.
        record: The chain's settlement record.
        funded: The balances before the deposits, and the deposits.
        balances_minor: The balances after settlement.
    """
    rows = zip(
        premiums_minor(plan),
        settlements_minor(record),
        funded.deposits_minor,
        balances_minor,
        funded.balances_minor,
        strict=True,
    )
    return tuple(
        MemberTotal(premium, settlement, deposit, after, after - before - deposit)
        for premium, settlement, deposit, after, before in rows
    )


def show_report(out: Output, report: Report, official_price: str | None = None) -> None:
    """The report as people read it.

    Args:
        out: Where to write.
        report: What to show.
        official_price: The delivery price that the exchange published, where it is known.
    """
    plan = report.plan
    price = "none (void)" if report.settlement_price is None else f"{report.settlement_price:,.2f} USD"
    lines: dict[str, object] = {
        "Expiry": f"{plan.asset} {plan.expiry}, {len(plan.series)} series, {report.driven.trades} trades",
        "Settlement price": price,
        "Source": report.source,
        "Window covered": f"{report.coverage_ppm / 10_000:.1f} %",
        "Samples": f"{report.driven.samples} instants from the oracles",
    }
    if report.driven.samples_refused:
        codes = ", ".join(f"{code}: {number}" for code, number in report.driven.refusals.items())
        lines["Refused"] = f"{report.driven.samples_refused} instants ({codes})"
    if official_price is not None:
        lines["Official price"] = f"{float(official_price):,.2f} USD"
    out.pairs("Settlement", lines)
    columns = ("member", "premium", "settlement", "final", "deposit", "balance")
    rows = [
        (
            name,
            *map(
                Amount,
                (each.premium_minor, each.settlement_minor, each.final_minor, each.deposit_minor, each.balance_minor),
            ),
        )
        for name, each in zip(MEMBERS, report.members, strict=True)
    ]
    out.table(f"Members, in minor units of {plan.asset} (1e-8)", columns, rows)
    out.line(f"Conserved: {'yes' if report.conserved else 'NO'}.")
    out.line(f"State root after block {report.height}:\n  {report.state_root}")
