"""Instances of contract programs on the ledger: started, settled input by input, closed, and gone from the state.

Rules:

1. *Start.* The members of all parties sign one envelope. The parameters lie in their ranges; each feed's band lies in
   the range of every price that is observed on it; every price is still to come and no election is over. Every member
   has room for one more (`contracts.holdings`), and so has the tree where it lies (`contracts.buckets`). Every lock
   moves from its party into the instance's pot, or nothing happens.
2. *Prices.* The price of an instant is the last one at or before it that is not older than the validity of a sample. It
   is looked up by the first block at or after the instant and the settlement delay, and then by every block until it is
   there, whether or not the program waits for it yet. All inputs of an index and an instant are settled on one price
   (`contracts.fixings`). It is absent once the settlement delay has passed since the first
   block at or after its window's end: samples that were held up with the chain must find it open.
3. *Elections.* The party's member elects once, within the window; with a value above zero the deposit moves into the
   pot. At the window's end an election is absent. *Moments.* The first block at or after a moment settles it; if it is
   past when the instance starts, the next block does.
4. After each settled input the program runs from its beginning; the payments that are new are made. At the close the
   pot is empty.
5. One block settles, or notes as overdue, no more than `INPUTS_PER_BLOCK_MAX` open inputs, and spends no more than
   `GAS_PER_BLOCK_MAX` on it, by rules 1 and 2 of `contracts.metering`. The next block goes on. An input that cannot be
   settled yet does not count, so none keeps another from settling.
6. *Retention.* A closed instance stays in the state for `contract_retention_blocks` blocks, the one that closed it
   included. Then it leaves; its program does, too, if nobody needs it. Its name may be used again: an instance is known
   for ever by its name and the height at which it started.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from contracts.fixings import Instant, fix, price_fixed_at
from contracts.holdings import Share, counted_bytes, parties, pot_account, require_room
from contracts.ledger import balance, post
from contracts.metering import charge_run, reading, work
from contracts.open_inputs import Due, Running
from contracts.operations_contracts import ElectContract, StartContract
from contracts.programs import drop_if_unneeded
from contracts.state import State
from contracts.step import Meter, Step, known, require_owner, require_sound
from contracts.tables import ContractRow, ProgramRow
from contracts.vm.bytecode import NO_DEPOSIT, Input, InputKind, Program
from contracts.vm.interpreter import Window, run, terms
from contracts.vm.verifier import Verified
from genesis.codec import I64_MAX
from genesis.errors import Rejected, invariant

INPUTS_PER_BLOCK_MAX: Final = 5_000
GAS_PER_BLOCK_MAX: Final = 1_000_000
GAS_PER_UNIT_OF_WORK: Final = 25
PRICE_AWAITED_MS_MAX: Final = 31 * 86_400_000
"""From a price's instant to its window's end: for so long samples are kept for it."""


def known_contract(state: State, name: str) -> ContractRow:
    """The instance of this name that is open, or has not been closed for long.

    Raises:
        Rejected: ``unknown_contract``; the state cannot tell one that has left it from one that never was.
    """
    row = state.contracts.rows.get(name)
    if row is None:
        raise Rejected(
            "unknown_contract",
            "No contract of this name is open, or has closed within the blocks for which closed ones are kept.",
            contract=name,
            height=state.height,
            contract_retention_blocks=state.limits.contract_retention_blocks,
        )
    return row


def start(step: Step, operation: StartContract) -> None:
    """Rule 1."""
    state, name, program_id = step.state, operation.contract, operation.program
    if name in state.contracts.rows:
        raise Rejected("already_exists", "There is a contract of this name, open or closed.", contract=name)
    stored = state.programs.rows.get(program_id)
    if stored is None:
        raise Rejected("unknown_program", "There is no program of this id.", program=program_id.hex())
    for account in operation.accounts:
        require_owner(step, account)
    _require_rooms(state, program_id, stored, operation.accounts)
    charge_run(step, program_id, stored)
    verified = state.stored_programs.verified(program_id)
    _require_bound(step, verified.program, operation)
    agreed = terms(verified, operation.parameters)
    for each, window in zip(verified.program.inputs, agreed.windows, strict=True):
        _require_ahead(step, each, window)
    for party, asset, amount in agreed.locks:
        account, pot = operation.accounts[party], pot_account(name)
        post(state, operation.assets[asset], ((account, -amount, 0), (pot, amount, 0)))
    row = ContractRow(
        program_id,
        operation.accounts,
        operation.assets,
        operation.feeds,
        operation.parameters,
        settled=(),
        payments=0,
        overdue=(),
        started_height=step.height,
        closed_height=0,
    )
    state.buckets.require_room_for_contract(name, row)
    step.emit("contract_started", contract=name, program=program_id)
    _advance(step, name, row, verified)


def _require_rooms(state: State, program_id: bytes, stored: ProgramRow, accounts: tuple[str, ...]) -> None:
    """Every member that becomes a party has room for one more contract."""
    for member in parties(accounts):
        program_bytes = 0 if state.holdings.needs(member, program_id) else counted_bytes(stored.encoded)
        require_room(state.limits, state.holdings, member, Share(1, stored.inputs, program_bytes))


def _require_bound(step: Step, program: Program, operation: StartContract) -> None:
    """Accounts, assets and feeds stand for those of the program; assets and feeds exist and are sound."""
    state = step.state
    for what, given, formal in (
        ("accounts", operation.accounts, program.parties),
        ("assets", operation.assets, program.assets),
        ("feeds", operation.feeds, program.feeds),
    ):
        if len(given) != len(formal):
            raise Rejected(
                "bad_binding", f"The program has another number of {what}.", given=len(given), needed=len(formal)
            )
    for asset in operation.assets:
        known(state.assets, asset, "asset")
        require_sound(step, "asset", asset)
    for feed, index in enumerate(operation.feeds):
        band = known(state.indices, index, "index")
        for each in program.inputs:
            observed = each.kind is InputKind.PRICE and each.source == feed
            if observed and not each.low <= band.price_min_ticks <= band.price_max_ticks <= each.high:
                raise Rejected(
                    "bad_binding",
                    "The index may have prices that the program does not provide for.",
                    input=each.name,
                    index=index,
                    low=each.low,
                    high=each.high,
                    price_min_ticks=band.price_min_ticks,
                    price_max_ticks=band.price_max_ticks,
                )


def _require_ahead(step: Step, each: Input, window: Window) -> None:
    """A price's instant and an election's end are ahead; no price is awaited for ever; a moment may be past."""
    if each.kind is InputKind.MOMENT:
        return
    if each.kind is InputKind.PRICE and window.until_unix_ms - window.opens_unix_ms > PRICE_AWAITED_MS_MAX:
        raise Rejected(
            "bad_window",
            "A price may not be awaited for so long.",
            input=each.name,
            opens_unix_ms=window.opens_unix_ms,
            until_unix_ms=window.until_unix_ms,
            awaited_ms_max=PRICE_AWAITED_MS_MAX,
        )
    ahead_unix_ms = window.opens_unix_ms if each.kind is InputKind.PRICE else window.until_unix_ms
    if ahead_unix_ms <= step.time_unix_ms:
        raise Rejected(
            "bad_window",
            "A price must still be to come, and an election not be over.",
            input=each.name,
            opens_unix_ms=window.opens_unix_ms,
            until_unix_ms=window.until_unix_ms,
            block_time_unix_ms=step.time_unix_ms,
        )


def elect(step: Step, operation: ElectContract) -> None:
    """Rule 3."""
    state, name = step.state, operation.contract
    row = known_contract(state, name)
    if not row.is_open:
        raise Rejected("contract_closed", "The contract is closed.", contract=name, closed_height=row.closed_height)
    _require_party(step, name, row)
    charge_run(step, row.program_id, state.programs.rows[row.program_id])
    verified = state.stored_programs.verified(row.program_id)
    number = _election(verified.program, operation.election)
    each = verified.program.inputs[number]
    require_owner(step, row.accounts[each.source])
    window = state.open_inputs.running(name).windows[number]
    if number in dict(row.settled):
        raise Rejected("already_elected", "This election is settled.", election=each.name)
    if not window.opens_unix_ms <= step.time_unix_ms < window.until_unix_ms:
        raise Rejected(
            "not_open",
            "The election is not open now.",
            opens_unix_ms=window.opens_unix_ms,
            until_unix_ms=window.until_unix_ms,
            block_time_unix_ms=step.time_unix_ms,
        )
    if not each.low <= operation.value <= each.high:
        raise Rejected(
            "bad_input", "The value is out of its range.", value=operation.value, low=each.low, high=each.high
        )
    if operation.value and each.deposit != NO_DEPOSIT:
        account, amount = row.accounts[each.source], window.deposit_minor
        post(state, row.assets[window.deposit_asset], ((account, -amount, 0), (pot_account(name), amount, 0)))
    step.emit("elected", contract=name, election=each.name, value=operation.value)
    _settle(step, name, row, verified, number, operation.value)


def _require_party(step: Step, name: str, row: ContractRow) -> None:
    """A member that is a party signed; which one it must be, the program says."""
    members = step.state.derived.member_of_key
    if not {members.get(key) for key in step.signers} & set(parties(row.accounts)):
        raise Rejected("missing_signature", "Only a party's member elects.", contract=name)


def _election(program: Program, name: str) -> int:
    for number, each in enumerate(program.inputs):
        if each.kind is InputKind.ELECTION and each.name == name:
            return number
    raise Rejected("unknown_election", "The contract has no election of this name.", election=name)


def settle_due(step: Step) -> None:
    """The system step: settle the open inputs that are due (rules 2, 3 and 5).

    What is counted changes the state; a look that finds nothing does not, so that it keeps nobody else waiting.
    """
    resting: list[tuple[Due, int]] = []
    priced: dict[Instant, int] = {}
    _settle_in_order(step, resting, priced)
    step.state.open_inputs.rest(resting)
    fix(step.state, step.time_unix_ms, priced)


def _settle_in_order(step: Step, resting: list[tuple[Due, int]], priced: dict[Instant, int]) -> None:
    """Settle what can be; `resting` gets what cannot, and when it is to be looked at again, `priced` the prices."""
    state, now, gas, changed = step.state, step.time_unix_ms, 0, 0
    for due in state.open_inputs.due(now):
        if changed >= INPUTS_PER_BLOCK_MAX:
            return
        _due_unix_ms, name, number = due
        row = state.contracts.rows[name]
        if not row.is_open:
            continue
        running = state.open_inputs.running(name)
        value = _value(state, running, number)
        overdue_unix_ms = dict(row.overdue).get(number)
        if value is None and not _is_absent(state, running, number, overdue_unix_ms, now):
            until_unix_ms = running.windows[number].until_unix_ms
            if overdue_unix_ms is None and now >= until_unix_ms:
                overdue_unix_ms, changed = now, changed + 1
                state.contracts.put(name, row._replace(overdue=tuple(sorted((*row.overdue, (number, now))))))
            ends_unix_ms = until_unix_ms if overdue_unix_ms is None else overdue_unix_ms + _delay_ms(state)
            resting.append((due, ends_unix_ms))
            continue
        gas += _cost(state, step.meter, row.program_id)
        if gas > GAS_PER_BLOCK_MAX:
            return
        changed += 1
        step.meter.read.add(row.program_id)
        if value is not None and running.kinds[number] is InputKind.PRICE:
            priced[running.indices[number], running.windows[number].opens_unix_ms] = value
        _settle(step, name, row, state.stored_programs.verified(row.program_id), number, value)


def work_due(state: State, time_unix_ms: int) -> int:
    """About what `drop_closed` and `settle_due` would do in the next block, in units of 25 microseconds at most."""
    units_max, meter = GAS_PER_BLOCK_MAX // GAS_PER_UNIT_OF_WORK, Meter()
    units = sum(1 for _name in _leaving(state, state.height + 1))
    for _due_unix_ms, name, _number in state.open_inputs.due(time_unix_ms):
        program_id = state.contracts.rows[name].program_id
        units += 1 + _cost(state, meter, program_id) // GAS_PER_UNIT_OF_WORK
        meter.read.add(program_id)
        if units >= units_max:
            break
    return units


def _cost(state: State, meter: Meter, program_id: bytes) -> int:
    """What settling one input costs, in gas."""
    program = state.programs.rows[program_id]
    return work(program) + reading(meter, program_id, program)


def drop_closed(step: Step) -> None:
    """The system step: rule 6."""
    state = step.state
    for name in list(_leaving(state, step.height)):
        program_id = state.contracts.rows[name].program_id
        state.contracts.put(name, None)
        step.emit("contract_removed", contract=name)
        drop_if_unneeded(step, program_id)


def _leaving(state: State, height: int) -> Iterator[str]:
    """The contracts that the block of that height removes."""
    return state.holdings.closed_until(height - state.limits.contract_retention_blocks)


def _delay_ms(state: State) -> int:
    return state.limits.settlement_delay_ms


def _value(state: State, running: Running, number: int) -> int | None:
    """Of an input that is due, if it can be settled with one."""
    kind = running.kinds[number]
    if kind is not InputKind.PRICE:
        return 1 if kind is InputKind.MOMENT else None
    return price_fixed_at(state, running.indices[number], running.windows[number].opens_unix_ms)


def _is_absent(state: State, running: Running, number: int, overdue_unix_ms: int | None, now_unix_ms: int) -> bool:
    """Whether an input that is due, and has no value, is no longer awaited."""
    if running.kinds[number] is InputKind.ELECTION:
        return True
    return overdue_unix_ms is not None and now_unix_ms >= overdue_unix_ms + _delay_ms(state)


def _settle(step: Step, name: str, row: ContractRow, verified: Verified, number: int, value: int | None) -> None:
    """Settle one input and let the program go on."""
    settled = tuple(sorted({**dict(row.settled), number: value}.items()))
    overdue = tuple(each for each in row.overdue if each[0] != number)
    _advance(step, name, row._replace(settled=settled, overdue=overdue), verified)


def _advance(step: Step, name: str, row: ContractRow, verified: Verified) -> None:
    """Rule 4: run the program over what is settled and make the payments that are new.

    What a program asks for may have 127 bits; an event, like all that is encoded, holds 64.
    """
    state, pot = step.state, pot_account(name)
    reached = run(verified, row.parameters, dict(row.settled))
    for payment in reached.payments[row.payments :]:
        asset, account = row.assets[payment.asset], row.accounts[payment.party]
        if payment.amount_minor:
            post(state, asset, ((pot, -payment.amount_minor, 0), (account, payment.amount_minor, 0)))
        if payment.due_minor:
            step.emit(
                "contract_paid",
                contract=name,
                account=account,
                asset=asset,
                amount_minor=payment.amount_minor,
                shortfall_minor=min(payment.due_minor - payment.amount_minor, I64_MAX),
            )
    closed_height = 0 if reached.waits_for is not None else step.height
    state.contracts.put(name, row._replace(payments=len(reached.payments), closed_height=closed_height))
    if closed_height:
        left = [balance(state, pot, asset).free_minor for asset in row.assets]
        invariant(not any(left), "A closed contract's pot is not empty.", contract=name)
        step.emit("contract_closed", contract=name)
