"""A testnet's processes: all up, all ready, all asked, all down.

`bring_up` starts what does not run and returns when every validator is ready; a validator that dies on the way, or is
not ready in time, ends it with the tail of that validator's log. `survey` asks every validator for its status and
compares the state roots at the highest block that all of those who answer have. `restart` waits as `bring_up` does, and
leaves what it has started running whatever comes of it: the others may need it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cli.client import Connection, Unreachable
from cli.processes import SIGNER_RUN, Started, log_tail, running_pid, start, stop
from cli.testnet_files import LocalNetwork, LocalValidator
from genesis.errors import Rejected

READY_PATH: Final = "/v1/ready"
HEALTH_PATH: Final = "/v1/health"
READY_S_MAX: Final = 90.0
ANSWER_S_MAX: Final = 5.0
AGREEMENT_S_MAX: Final = 15.0
STEADY_S: Final = 0.5
"""A restarted validator that is ready must live on for so long: what it finds wrong with its ledger ends it at once."""

_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Standing:
    """What one validator says of itself; `status` is None if it does not answer."""

    validator: LocalValidator
    status: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Survey:
    """Every validator's standing, and whether those who answer agree.

    Attributes:
        standings: In the testnet's order.
        height: The highest block that all who answer have; None if nobody answers.
        state_root: Their common root after it, in hexadecimal; None unless they agree.
        has_quorum: Whether those who answer have the power to go on: a quorum of the present validator set.
    """

    standings: tuple[Standing, ...]
    height: int | None
    state_root: str | None
    has_quorum: bool = False

    @property
    def answering(self) -> tuple[Standing, ...]:
        """Those who answer."""
        return tuple(each for each in self.standings if each.status is not None)

    @property
    def agreed(self) -> bool:
        """Whether at least one validator answers and all who do have the same root at the same height."""
        return self.state_root is not None

    def document(self) -> dict[str, Any]:
        """What ``testnet status --json`` prints."""
        return {
            "validators": [_entry(each) for each in self.standings],
            "answering": len(self.answering),
            "agreed": self.agreed,
            "agreed_height": self.height if self.agreed else None,
            "agreed_root": self.state_root,
        }


def bring_up(validators: Sequence[LocalValidator], advance: Callable[[int], None] = lambda _: None) -> list[Started]:
    """Start those that do not run and wait until all are ready.

    Args:
        validators: Of one testnet.
        advance: Told 1 for each that has become ready.

    Returns:
        The processes that were started now.

    Raises:
        Rejected: ``validator_died`` or ``not_ready``, with the tail of the log; ``port_taken``. What was started is
            stopped again.
    """
    started: list[Started] = []
    try:
        _start(validators, started)
        _await(validators, started, advance)
    except BaseException:  # Ctrl-C too: they run in sessions of their own and would outlive us.
        for each in started:
            stop(each.home, each)
        raise
    return started


def restart(validators: Sequence[LocalValidator], advance: Callable[[int], None] = lambda _: None) -> None:
    """Stop those that run, start all, and return once all are ready.

    Args:
        validators: Of one testnet.
        advance: Told 1 for each that has become ready.

    Raises:
        Rejected: ``validator_died`` or ``not_ready``, with the tail of the log; ``port_taken``. The others run on.
    """
    for each in validators:
        stop(each.home)
    started: list[Started] = []
    _start(validators, started)
    _await(validators, started, advance)
    for one in started[:1]:
        one.ended(STEADY_S)
    check_alive(started)


def check_alive(started: Sequence[Started]) -> None:
    """Refuse (``validator_died``, with the tail of its log) if one of these processes has ended."""
    for each in started:
        if each.ended(0):
            raise _died(each.home, f"has ended, {_ending(each.popen.returncode)}", each.log_offset)


def take_down(testnet: LocalNetwork, started: Sequence[Started] = ()) -> list[str]:
    """Stop every validator that runs, all at once, then their signers; the names of the validators that did."""
    processes = {each.home: each for each in started}
    with ThreadPoolExecutor(len(testnet.validators)) as pool:
        ran = list(pool.map(lambda each: stop(each.home, processes.get(each.home)), testnet.validators))
        signers = [each.signer_home for each in testnet.validators]
        list(pool.map(lambda home: stop(home, processes.get(home)), signers))
        return [each.name for each, did in zip(testnet.validators, ran, strict=True) if did]


def survey(testnet: LocalNetwork) -> Survey:
    """Ask every validator, and compare. One that answers the first question and not the second does not answer."""
    with ThreadPoolExecutor(len(testnet.validators)) as pool:
        standings = tuple(pool.map(_standing, testnet.validators))
        answering = Survey(standings, None, None).answering
        if not answering:
            return Survey(standings, None, None)
        height = min(int(each.status["height"]) for each in answering if each.status is not None)
        roots = list(pool.map(lambda each: _root(each, height), answering))
    silent = {each.validator.name for each, root in zip(answering, roots, strict=True) if root is None}
    standings = tuple(replace(each, status=None) if each.validator.name in silent else each for each in standings)
    found = Survey(standings, None, None)
    if not found.answering:
        return found
    root, *others = {root for root in roots if root is not None}
    return Survey(standings, height, root if root and not others else None, _has_quorum(found.answering))


def await_agreement(network: LocalNetwork) -> Survey:
    """The survey once all validators stand at one height with one root, or the last one before patience ends."""
    until = time.monotonic() + AGREEMENT_S_MAX
    while True:
        found = survey(network)
        complete = len(found.answering) == len(found.standings)
        totals = {each.status["committed_txs"] for each in found.answering if each.status is not None}
        if complete and found.agreed and len(totals) == 1:
            return found
        if time.monotonic() > until:
            return found if complete else replace(found, state_root=None)
        time.sleep(_POLL_S)  # that the last of them has caught up is announced by none


def _start(validators: Sequence[LocalValidator], started: list[Started]) -> None:
    """Start those that do not run, each noted in `started` at once, since an interrupt may come between two.

    Nobody is started while somebody else answers at one's address, who would pass for it (``port_taken``).
    """
    absent = [each for each in validators if running_pid(each.home) is None]
    for each in absent:
        if _is_taken(each):
            raise Rejected("port_taken", f"Another process answers at the address of {each.name}.", url=each.url)
    for each in absent:
        if each.signer_home.exists() and running_pid(each.signer_home) is None:
            started.append(start(each.signer_home, SIGNER_RUN))
        started.append(start(each.home))


def _is_taken(validator: LocalValidator) -> bool:
    """Whether anybody answers at the validator's address, be it with a refusal."""
    with Connection(validator.url, ANSWER_S_MAX) as connection:
        try:
            connection.get(HEALTH_PATH)
        except Rejected:
            return True
        except Unreachable:
            return False
        return True


def _await(validators: Sequence[LocalValidator], started: Sequence[Started], advance: Callable[[int], None]) -> None:
    """Return when every validator is ready; refused as soon as one that was started has ended.

    Those that run already may not be ready without it: to wait for them first would hide why.
    """
    until = time.monotonic() + READY_S_MAX
    for validator in validators:
        with Connection(validator.url, ANSWER_S_MAX) as connection:
            while not connection.answers(READY_PATH):
                _pause(validator, started)
                if time.monotonic() > until:
                    message = f"{validator.name} is not ready after {READY_S_MAX:.0f} s: {_reason(connection)}. "
                    message += "The end of its log:"
                    raise Rejected("not_ready", f"{message}\n{log_tail(validator.home)}")
        advance(1)


def _reason(connection: Connection) -> str:
    """Why the validator is not ready, in its own words."""
    try:
        connection.get(READY_PATH)
    except Unreachable as error:
        return error.reason
    except Rejected as error:
        return error.message
    return "it has become ready just now"


def _pause(validator: LocalValidator, started: Sequence[Started]) -> None:
    """Wait a moment, or until the validator has died, which is refused, as is the end of any that was started."""
    own = next((each for each in started if each.home == validator.home), None)
    if own is not None:
        own.ended(_POLL_S)
    else:
        time.sleep(_POLL_S)  # it is nobody's child here, and tells nobody when it is ready
        if running_pid(validator.home) is None:
            raise _died(validator.home, "ended before it was ready", 0)
    check_alive(started)


def _ending(code: int) -> str:
    """A process's end in words."""
    return f"killed by signal {-code}" if code < 0 else f"with exit code {code}"


def _died(home: Path, how: str, log_offset: int) -> Rejected:
    """The refusal of a validator that ended; a home is named after its validator."""
    return Rejected("validator_died", f"{home.name} {how}. The end of its log:\n{log_tail(home, since=log_offset)}")


def _standing(validator: LocalValidator) -> Standing:
    with Connection(validator.url, ANSWER_S_MAX) as connection:
        try:
            return Standing(validator, connection.get("/v1/status"))
        except (Unreachable, Rejected):
            return Standing(validator, None)


def _has_quorum(answering: Sequence[Standing]) -> bool:
    """Whether these validators have a quorum of the power that the first of them who tells states."""
    names = {each.validator.name for each in answering}
    for each in answering:
        with Connection(each.validator.url, ANSWER_S_MAX) as connection:
            try:
                stated = connection.get("/v1/validators")
            except (Unreachable, Rejected):
                continue
            power = sum(int(one["power"]) for one in stated["validators"] if one["name"] in names)
            return power >= int(stated["quorum_power"])
    return False


def _root(standing: Standing, height: int) -> str | None:
    """The validator's root after block `height`, empty if it cannot tell, None if it does not answer any more."""
    status = standing.status or {}
    if status.get("height") == height:
        return str(status["state_root"])
    with Connection(standing.validator.url, ANSWER_S_MAX) as connection:
        try:
            return str(connection.get(f"/v1/blocks/{height}")["state_root"])
        except Unreachable:
            return None
        except Rejected:
            return ""


def _entry(standing: Standing) -> dict[str, Any]:
    """One validator's line of ``testnet status --json``; nulls where it does not answer."""
    status = standing.status or {}
    facts = {name: status.get(name) for name in ("height", "view", "state_root", "peers", "committed_txs", "amnesiac")}
    running = running_pid(standing.validator.home) is not None
    return {"name": standing.validator.name, **facts, "running": running, "url": standing.validator.url}
