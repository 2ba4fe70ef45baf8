"""Instances of contract programs on the ledger: stored, started, settled input by input, closed.

Rules:

1. *Store.* A member stores a program that passes the checks of docs/CONTRACTS.md, section 3.
2. *Start.* The members of all parties sign one envelope. The parameters lie in their ranges; each feed's band lies in
   the range of every price that is observed on it; every price is still to come and no election is over. Every lock
   moves from its party into the instance's pot, or nothing happens.
3. *Prices.* The price of an instant is the last one at or before it that is not older than the validity of a sample. It
   is looked up by the first block at or after the instant and the settlement delay, and then by every block until it is
   there, whether or not the program waits for it yet. All inputs of an index and an instant are settled on one price
   (`contracts.fixings`). It is absent once the settlement delay has passed since the first
   block at or after its window's end: samples that were held up with the chain must find it open.
4. *Elections.* The party's member elects once, within the window; with a value above zero the deposit moves into the
   pot. At the window's end an election is absent. *Moments.* The first block at or after a moment settles it; if it is
   past when the instance starts, the next block does.
5. After each settled input the program runs from its beginning; the payments that are new are made. At the close the
   pot is empty.
6. One block settles, or notes as overdue, no more than `INPUTS_PER_BLOCK_MAX` open inputs, and spends no more than
   `GAS_PER_BLOCK_MAX` on it: for each settled input its program's gas, and `GAS_PER_INPUT` for each of its inputs. The
   next block goes on. An input that cannot be settled yet does not count, so none keeps another from settling.
7. The envelopes of one block spend no more gas on contracts than `ENVELOPES_GAS_PER_BLOCK_MAX`, those of one signer no
   more than `SIGNER_GAS_PER_BLOCK_MAX`: `GAS_PER_STORED_BYTE` for each byte of a program to be stored; to start or to
   elect, twice what settling an input costs. A signer's first work in a block may be larger. It is
   charged before the work is done, and for work that is refused, too.
"""

from __future__ import annotations

from typing import Final

from contracts.fixings import Instant, fix, price_fixed_at
from contracts.ledger import balance, post
from contracts.open_inputs import Due
from contracts.operations_contracts import ElectContract, StartContract, StoreProgram
from contracts.state import State
from contracts.step import Step, known, require_new, require_owner, require_sound
from contracts.tables import ContractRow, ProgramRow
from contracts.vm.bytecode import NO_DEPOSIT, Input, InputKind, Program, decode_program
from contracts.vm.interpreter import Window, run, terms
from contracts.vm.verifier import Verified, verify
from genesis.codec import I64_MAX
from genesis.errors import Rejected, invariant

INPUTS_PER_BLOCK_MAX: Final = 5_000
GAS_PER_BLOCK_MAX: Final = 1_000_000
GAS_PER_INPUT: Final = 4
GAS_PER_STORED_BYTE: Final = 2
GAS_PER_UNIT_OF_WORK: Final = 25
ENVELOPES_GAS_PER_BLOCK_MAX: Final = 1_000_000
SIGNER_GAS_PER_BLOCK_MAX: Final = 200_000
"""So that several must collude to crowd out everybody else."""
INPUTS_LIVE_MAX: Final = 2**16
"""Of all running instances together: a bound of a node's memory, and of what may come due in one block."""
PRICE_AWAITED_MS_MAX: Final = 31 * 86_400_000
"""From a price's instant to its window's end: for so long samples are kept for it."""
CONTRACTS_EVER_MAX: Final = 2**32


def pot_account(contract: str) -> str:
    """The account that holds what an instance has locked; no member can own one of this form."""
    return f"@contract/{contract}"


def _charge(step: Step, gas: int) -> None:
    """Rule 7. What is charged stays charged when the envelope is refused: it is what the refusal may cost."""
    meter = step.meter
    spent = max((meter.gas_of.get(key, 0) for key in step.signers), default=0)
    signer_is_over = bool(spent) and spent + gas > SIGNER_GAS_PER_BLOCK_MAX
    if signer_is_over or meter.gas + gas > ENVELOPES_GAS_PER_BLOCK_MAX:
        raise Rejected(
            "block_full",
            "This block has no room for so much more work on contracts.",
            gas=gas,
            gas_spent=meter.gas,
            gas_max=ENVELOPES_GAS_PER_BLOCK_MAX,
            signer_gas_spent=spent,
            signer_gas_max=SIGNER_GAS_PER_BLOCK_MAX,
        )
    meter.gas += gas
    for key in step.signers:
        meter.gas_of[key] = meter.gas_of.get(key, 0) + gas


def store(step: Step, operation: StoreProgram) -> None:
    """Rule 1. Storing a program again is refused (``already_exists``)."""
    state = step.state
    if not any(key in state.derived.member_of_key for key in step.signers):
        raise Rejected("not_authorised", "Only a member may store a program.", role="member")
    _charge(step, GAS_PER_STORED_BYTE * len(operation.program))
    program = decode_program(operation.program)
    if program.program_id in state.programs.rows:
        raise Rejected("already_exists", "This program is stored already.", program=program.program_id.hex())
    if len(state.programs.rows) >= state.limits.programs_max:
        raise Rejected("limit_reached", "There is no room for another program.", count_max=state.limits.programs_max)
    verified = verify(program, state.limits.contract_gas_max)
    state.programs.put(program.program_id, ProgramRow(operation.program))
    state.open_inputs.remember(program.program_id, verified)
    step.emit("program_stored", program=program.program_id, name=program.name, gas=program.gas)


def start(step: Step, operation: StartContract) -> None:
    """Rule 2."""
    state, name = step.state, operation.contract
    require_new(state.contracts, name, "contract", CONTRACTS_EVER_MAX)
    if state.open_inputs.live >= state.limits.contracts_max:
        raise Rejected("limit_reached", "No more contracts may run.", count_max=state.limits.contracts_max)
    if operation.program not in state.programs.rows:
        raise Rejected("unknown_program", "There is no program of this id.", program=operation.program.hex())
    verified = state.open_inputs.verified(operation.program)
    inputs = state.open_inputs.inputs_live + len(verified.program.inputs)
    if inputs > INPUTS_LIVE_MAX:
        raise Rejected("limit_reached", "No more inputs may be waited for.", inputs=inputs, inputs_max=INPUTS_LIVE_MAX)
    _require_bound(step, verified.program, operation)
    _charge(step, 2 * _work(verified.program))
    agreed = terms(verified, operation.parameters)
    for each, window in zip(verified.program.inputs, agreed.windows, strict=True):
        _require_ahead(step, each, window)
    for party, asset, amount in agreed.locks:
        account, pot = operation.accounts[party], pot_account(name)
        post(state, operation.assets[asset], ((account, -amount, 0), (pot, amount, 0)))
    row = ContractRow(
        operation.program,
        operation.accounts,
        operation.assets,
        operation.feeds,
        operation.parameters,
        settled=(),
        payments=0,
        overdue=(),
        is_open=True,
    )
    step.emit("contract_started", contract=name, program=operation.program)
    _advance(step, name, row, verified)


def _require_bound(step: Step, program: Program, operation: StartContract) -> None:
    """Accounts, assets and feeds stand for those of the program, exist, are sound, and their owners signed."""
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
    for account in operation.accounts:
        require_owner(step, account)
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
    """Rule 4."""
    state, name = step.state, operation.contract
    row = known(state.contracts, name, "contract")
    if not row.is_open:
        raise Rejected("contract_closed", "The contract is closed.", contract=name)
    verified = state.open_inputs.verified(row.program_id)
    number = _election(verified.program, operation.election)
    each = verified.program.inputs[number]
    require_owner(step, row.accounts[each.source])
    _charge(step, 2 * _work(verified.program))
    window = state.open_inputs.windows(name)[number]
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


def _election(program: Program, name: str) -> int:
    for number, each in enumerate(program.inputs):
        if each.kind is InputKind.ELECTION and each.name == name:
            return number
    raise Rejected("unknown_election", "The contract has no election of this name.", election=name)


def settle_due(step: Step) -> None:
    """The system step: settle the open inputs that are due (rules 3 and 6).

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
        verified, window = state.open_inputs.verified(row.program_id), state.open_inputs.windows(name)[number]
        value = _value(state, row, verified.program, number, window)
        overdue_unix_ms = dict(row.overdue).get(number)
        if value is None and not _is_absent(state, verified.program, number, overdue_unix_ms, now):
            if overdue_unix_ms is None and now >= window.until_unix_ms:
                overdue_unix_ms, changed = now, changed + 1
                state.contracts.put(name, row._replace(overdue=tuple(sorted((*row.overdue, (number, now))))))
            ends_unix_ms = window.until_unix_ms if overdue_unix_ms is None else overdue_unix_ms + _delay_ms(state)
            resting.append((due, ends_unix_ms))
            continue
        gas += _work(verified.program)
        if gas > GAS_PER_BLOCK_MAX:
            return
        changed += 1
        if value is not None and verified.program.inputs[number].kind is InputKind.PRICE:
            priced[row.feeds[verified.program.inputs[number].source], window.opens_unix_ms] = value
        _settle(step, name, row, verified, number, value)


def work_due(state: State, time_unix_ms: int) -> int:
    """About what `settle_due` would do in a block of that time, in units that take 25 microseconds at most."""
    work, work_max = 0, GAS_PER_BLOCK_MAX // GAS_PER_UNIT_OF_WORK
    for _due_unix_ms, name, _number in state.open_inputs.due(time_unix_ms):
        program = state.open_inputs.verified(state.contracts.rows[name].program_id).program
        work += 1 + _work(program) // GAS_PER_UNIT_OF_WORK
        if work >= work_max:
            break
    return work


def _work(program: Program) -> int:
    """What settling one input of a program costs, in gas: a run goes over its inputs, too."""
    return program.gas + GAS_PER_INPUT * len(program.inputs)


def _delay_ms(state: State) -> int:
    return state.limits.settlement_delay_ms


def _value(state: State, row: ContractRow, program: Program, number: int, window: Window) -> int | None:
    """Of an input that is due, if it can be settled with one."""
    each = program.inputs[number]
    if each.kind is not InputKind.PRICE:
        return 1 if each.kind is InputKind.MOMENT else None
    return price_fixed_at(state, row.feeds[each.source], window.opens_unix_ms)


def _is_absent(state: State, program: Program, number: int, overdue_unix_ms: int | None, now_unix_ms: int) -> bool:
    """Whether an input that is due, and has no value, is no longer awaited."""
    if program.inputs[number].kind is InputKind.ELECTION:
        return True
    return overdue_unix_ms is not None and now_unix_ms >= overdue_unix_ms + _delay_ms(state)


def _settle(step: Step, name: str, row: ContractRow, verified: Verified, number: int, value: int | None) -> None:
    """Settle one input and let the program go on."""
    settled = tuple(sorted({**dict(row.settled), number: value}.items()))
    overdue = tuple(each for each in row.overdue if each[0] != number)
    _advance(step, name, row._replace(settled=settled, overdue=overdue), verified)


def _advance(step: Step, name: str, row: ContractRow, verified: Verified) -> None:
    """Rule 5: run the program over what is settled and make the payments that are new.

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
    is_open = reached.waits_for is not None
    state.contracts.put(name, row._replace(payments=len(reached.payments), is_open=is_open))
    if not is_open:
        left = [balance(state, pot, asset).free_minor for asset in row.assets]
        invariant(not any(left), "A closed contract's pot is not empty.", contract=name)
        step.emit("contract_closed", contract=name)
