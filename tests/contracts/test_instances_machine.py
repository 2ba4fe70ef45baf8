"""Contracts under any order of starts, elections, samples, refusals and restarts: a node that runs on and one that has
just read its store agree, block after block."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contracts import instances
from contracts.conservation import audit
from contracts.holdings import Share, pot_account
from contracts.machine import BlockInput, apply_block
from contracts.receipts import decode_receipt, encode_receipt
from contracts.state import State
from contracts.vm.bytecode import InputKind, encode_program
from contracts.vm.interpreter import terms
from contracts.vm.language.compiler import compile_text
from genesis.envelope import Envelope
from tests.contracts.world import World, operation, set_up, with_params

CHOICE = compile_text(
    b"""
    contract choice
    party writer
    party holder
    asset GOODS rest to writer
    asset CASH rest to holder
    feed INDEX
    feed OTHER
    parameter begin: time
    parameter awaited: time in 1..1_000_000
    parameter amount: money GOODS in 0..1_000
    parameter fee: money CASH in 0..1_000
    lock writer amount
    lock holder fee
    observe seen: 3 prices of INDEX from begin every 2s until begin + awaited + 4s in 1..1_000_000_000
    observe other: price of OTHER at begin + 1s until begin + awaited + 1s in 1..1_000_000_000
    election early: quantity by holder from begin until begin + awaited in 0..9 locks fee
    election late: bool by writer from begin until begin + awaited + 5s locks amount
    when early arrives { if early > 3 { pay fee to writer } } timeout { }
    when seen arrives { pay amount * last(seen) / 20_000_000 ticks round down to holder } timeout { }
    when other arrives { if other > 6_000_000 ticks { close } } timeout { }
    when late arrives { pay amount to holder } timeout { }
    close
    """
).program
GAS = 2 * (CHOICE.gas + 4 * len(CHOICE.inputs)) + 2 * len(encode_program(CHOICE))
"""What settling two inputs costs."""
RETENTION_BLOCKS = 12
CONTRACTS = 9
INDICES = ("BTC_USD", "ETH_USD")
BREAKS = st.sampled_from([False, False, False, True])
"""Whether an operation that is refused ends the envelope, so that all of it is undone."""
GIVEN_UP = operation("program.remove", program=CHOICE.program_id)
STEPS_MS = st.sampled_from([0, 1, 500, 1_000, 1_000, 2_500])
"""To the next block; 0 where the envelope waits for others."""


class Contracts(RuleBasedStateMachine):
    """Blocks of random envelopes on one chain, with bounds so small that they bind."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds = [
            patch.object(instances, "INPUTS_PER_BLOCK_MAX", 3),
            patch.object(instances, "GAS_PER_BLOCK_MAX", GAS),
        ]
        for each in self.bounds:
            each.start()
        self.world = set_up(
            World(
                with_params(
                    settlement_sample_validity_ms=3_000,
                    settlement_delay_ms=2_000,
                    settlement_window_ms=5_000,
                    contract_retention_blocks=RETENTION_BLOCKS,
                    contracts_per_member_max=CONTRACTS,
                )
            )
        )
        self.waiting: list[Envelope] = []
        self.started = 0

    @initialize()
    def market(self) -> None:
        self.world.do(
            "governor",
            "index.register",
            index="ETH_USD",
            tick_decimals=2,
            price_min_ticks=2_000_000,
            price_max_ticks=20_000_000,
            oracle_quorum=1,
        )
        self.world.do("M0", "program.store", program=encode_program(CHOICE))

    def name(self, n: int) -> str:
        """The n-th of the three newest contracts, or one that is new."""
        return f"C{max(0, self.started - n)}"

    def start(self, n: int, ahead_s: int, awaited_s: int, feeds: tuple[str, str], assets: str) -> tuple[object, ...]:
        begin = self.world.now_unix_ms // 1_000 * 1_000 + 1_000 * ahead_s
        return operation(
            "contract.start",
            contract=self.name(n),
            program=CHOICE.program_id,
            accounts="M0/main,M1/main",
            assets=assets,
            feeds=",".join(feeds),
            parameters=f"{begin},{1_000 * awaited_s},10,7",
        )

    def send(self, operations: list[tuple[Any, ...]], breaks: bool, then_ms: int) -> None:
        """In one envelope, which may be made to be refused whole; then perhaps a block."""
        if breaks:
            operations.append(operation("account.open", account="M0/main"))
        self.waiting.append(self.world.envelope("M0 M1", *operations))
        if then_ms:
            self.block(then_ms)

    @rule(
        n=st.sampled_from([0, 0, 0, 1]),
        then_ms=STEPS_MS,
        ahead_s=st.integers(1, 6),
        awaited_s=st.integers(1, 15),
        feeds=st.tuples(*[st.sampled_from(INDICES)] * 2),
        elects=st.booleans(),
        breaks=BREAKS,
    )
    def starts(
        self, n: int, ahead_s: int, awaited_s: int, feeds: tuple[str, str], elects: bool, breaks: bool, then_ms: int
    ) -> None:
        """Start, perhaps elect at once, perhaps in an envelope that is refused whole."""
        operations = [self.start(n, ahead_s, awaited_s, feeds, "BTC,BTC")]
        self.started += not n
        if elects:
            operations.append(operation("contract.elect", contract=self.name(n), election="early", value=4))
        self.send(operations, breaks, then_ms)

    @rule(
        n=st.integers(1, 3),
        then_ms=STEPS_MS,
        election=st.sampled_from(["early", "late"]),
        value=st.integers(0, 5),
        breaks=BREAKS,
    )
    def elects(self, n: int, election: str, value: int, breaks: bool, then_ms: int) -> None:
        operations = [operation("contract.elect", contract=self.name(n), election=election, value=value)]
        self.send(operations, breaks, then_ms)

    @rule(
        index=st.sampled_from(INDICES),
        ago_s=st.integers(0, 7),
        price=st.integers(2_000_000, 20_000_000),
        oracles=st.sampled_from(["oracle0", "oracle1 oracle2", "oracle0 oracle2"]),
        breaks=BREAKS,
        then_ms=STEPS_MS,
    )
    def samples(self, index: str, ago_s: int, price: int, oracles: str, breaks: bool, then_ms: int) -> None:
        instant = self.world.now_unix_ms // 1_000 * 1_000 - 1_000 * ago_s
        operations = [operation("oracle.sample", index=index, instant_unix_ms=instant, price_ticks=price)]
        if breaks:
            operations.append(operation("account.open", account="M0/main"))
        self.waiting.append(self.world.envelope(oracles, *operations))
        if then_ms:
            self.block(then_ms)

    @rule(
        member=st.sampled_from(["M0", "M1"]),
        stores=st.booleans(),
        breaks=BREAKS,
        then_ms=STEPS_MS,
    )
    def holds(self, member: str, stores: bool, breaks: bool, then_ms: int) -> None:
        """Hold the program or give it up, whoever runs it."""
        stored = operation("program.store", program=encode_program(CHOICE))
        operations = [stored if stores else GIVEN_UP]
        if breaks:
            operations.append(operation("account.open", account="M0/main"))
        self.waiting.append(self.world.envelope(member, *operations))
        if then_ms:
            self.block(then_ms)

    def block(self, step_ms: int) -> None:
        """One block on a node that runs on, and on one that has just restarted."""
        world, restarted = self.world, self.world.restored()
        assert followed(restarted) == followed(world.state)
        names = [list(each.open_inputs.names) for each in (restarted, world.state)]
        assert names == [sorted(restarted.contracts.rows)] * 2
        assert kept(restarted) == kept(world.state) == counted(world.state)
        height, now = world.state.height + 1, world.now_unix_ms
        output = world.block(*self.waiting, step_ms=step_ms)
        again = apply_block(restarted, BlockInput(height, now, self.waiting))
        assert (again.root, again.receipts, again.events) == (output.root, output.receipts, output.events)
        assert audit(restarted) == ()
        for each in output.receipts:
            assert decode_receipt(encode_receipt(each)) == each
        self.waiting = []

    @invariant()
    def pots_hold_money_only_while_contracts_run(self) -> None:
        for name, row in self.world.state.contracts.rows.items():
            if not row.is_open:
                pot = pot_account(name)
                assert not any(account == pot for account, _asset in self.world.state.balances.rows)

    @invariant()
    def whoever_awaits_a_price_for_the_whole_delay_gets_the_same_one(self) -> None:
        state, found = self.world.state, dict[tuple[str, int], int]()
        for row in state.contracts.rows.values():
            windows = terms(state.stored_programs.verified(row.program_id), row.parameters).windows
            for number, value in row.settled:
                each, window = CHOICE.inputs[number], windows[number]
                awaited_ms = window.until_unix_ms - window.opens_unix_ms
                if each.kind is not InputKind.PRICE or value is None or awaited_ms < state.limits.settlement_delay_ms:
                    continue
                instant = row.feeds[each.source], window.opens_unix_ms
                assert found.setdefault(instant, value) == value

    def teardown(self) -> None:
        """Long after every deadline nothing is open, and then nothing is left: no money is stuck, and no row."""
        for _ in range(60):
            self.block(4_000)
        state = self.world.state
        assert not any(row.is_open for row in state.contracts.rows.values())
        assert followed(state) == ([], {})
        self.waiting = [self.world.envelope(each, GIVEN_UP) for each in ("M0", "M1")]
        for _ in range(RETENTION_BLOCKS):
            self.block(1_000)
        assert not any(key[:1] in (b"\x16", b"\x17", b"\x18") for key in self.world.store)
        assert kept(state) == {}
        assert not state.fixings.rows
        for each in self.bounds:
            each.stop()


def followed(state: State) -> tuple[list[tuple[int, str, int]], dict[str, list[tuple[int, str, int]]]]:
    """Every open input in the order in which it falls due, and by index what needs its price."""
    everything = state.open_inputs.due(2**62)
    return everything, {index: list(each) for index, each in state.open_inputs._instants.items() if len(each)}


def kept(state: State) -> dict[str, Share]:
    """What each member has, as the state counts it."""
    shares = {member: state.holdings.share(member) for member in state.members.rows}
    return {member: share for member, share in shares.items() if any(share)}


def counted(state: State) -> dict[str, Share]:
    """The same, counted anew from the rows; and every row is one that somebody needs, and that is not too old."""
    shares: dict[str, Share] = {}
    for member in state.members.rows:
        rows = [row for row in state.contracts.rows.values() if f"{member}/main" in row.accounts]
        needed = {row.program_id for row in rows} | {each for each, who in state.program_holders.rows if who == member}
        stored = [state.programs.rows[each] for each in needed]
        inputs = sum(state.programs.rows[row.program_id].inputs for row in rows)
        shares[member] = Share(len(rows), inputs, sum(max(1_024, len(each.encoded)) for each in stored))
        assert len(rows) <= CONTRACTS
    needed = {row.program_id for row in state.contracts.rows.values()} | {
        each for each, _who in state.program_holders.rows
    }
    assert needed == set(state.programs.rows)
    assert all(
        row.is_open or state.height < row.closed_height + RETENTION_BLOCKS for row in state.contracts.rows.values()
    )
    return {member: share for member, share in shares.items() if any(share)}


TestContracts = Contracts.TestCase
TestContracts.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
