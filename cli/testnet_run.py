"""A testnet's processes: all up, all ready, all asked, all down.

`bring_up` starts what does not run and returns when every validator is ready; a validator that dies on the way, or is
not ready in time, ends it with the tail of that validator's log. `survey` asks every validator for its status and
compares the state roots at the highest block that all of those who answer have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from cli.client import Connection, Unreachable
from cli.processes import Started, log_tail, running_pid, start, stop
from cli.testnet_files import LocalNetwork, LocalValidator
from genesis.errors import Rejected

READY_PATH: Final = "/v1/ready"
HEALTH_PATH: Final = "/v1/health"
READY_S_MAX: Final = 90.0
ANSWER_S_MAX: Final = 5.0
AGREEMENT_S_MAX: Final = 15.0
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
    """

    standings: tuple[Standing, ...]
    height: int | None
    state_root: str | None

    @property
    def agreed(self) -> bool:
        """Whether at least one validator answers and all who do have the same root at the same height."""
        return self.state_root is not None

    def document(self) -> dict[str, Any]:
        """What ``testnet status --json`` prints."""
        return {
            "validators": [_entry(each) for each in self.standings],
            "agreed": self.agreed,
            "agreed_height": self.height if self.agreed else None,
            "agreed_root": self.state_root,
        }


def bring_up(
    validators: Sequence[LocalValidator], advance: Callable[[int], None] = lambda _: None, path: str = READY_PATH
) -> list[Started]:
    """Start those that do not run and wait until all are ready.

    Args:
        validators: Of one testnet.
        advance: Told 1 for each that has become ready.
        path: What must answer; `HEALTH_PATH` for a validator that may be alone and cannot be ready.

    Returns:
        The processes that were started now.

    Raises:
        Rejected: ``validator_died`` or ``not_ready``, with the tail of the log. What was started is stopped again.
    """
    started = [start(each.home) for each in validators if running_pid(each.home) is None]
    try:
        _await(validators, path, started, advance)
    except BaseException:
        for each in started:
            stop(each.home, each)
        raise
    return started


def take_down(testnet: LocalNetwork, started: Sequence[Started] = ()) -> list[str]:
    """Stop every validator that runs, all at once; the names of those that did."""
    processes = {each.home: each for each in started}
    with ThreadPoolExecutor(len(testnet.validators)) as pool:
        ran = pool.map(lambda each: stop(each.home, processes.get(each.home)), testnet.validators)
        return [each.name for each, did in zip(testnet.validators, ran, strict=True) if did]


def survey(testnet: LocalNetwork) -> Survey:
    """Ask every validator, and compare."""
    with ThreadPoolExecutor(len(testnet.validators)) as pool:
        standings = tuple(pool.map(_standing, testnet.validators))
        answering = [each for each in standings if each.status is not None]
        if not answering:
            return Survey(standings, None, None)
        height = min(int(each.status["height"]) for each in answering if each.status is not None)
        roots = set(pool.map(lambda each: _root(each, height), answering))
    root = roots.pop()
    return Survey(standings, height, root if not roots else None)


def await_agreement(network: LocalNetwork) -> Survey:
    """The survey once all validators stand at one height with one root, or the last one before patience ends."""
    until = time.monotonic() + AGREEMENT_S_MAX
    while True:
        found = survey(network)
        answering = [each.status for each in found.standings if each.status is not None]
        complete = len(answering) == len(found.standings)
        if complete and found.agreed and len({status["committed_txs"] for status in answering}) == 1:
            return found
        if time.monotonic() > until:
            return found if complete else Survey(found.standings, found.height, None)
        time.sleep(_POLL_S)


def _await(
    validators: Sequence[LocalValidator], path: str, started: Sequence[Started], advance: Callable[[int], None]
) -> None:
    """Return when `path` answers on every validator."""
    processes = {each.home: each for each in started}
    until = time.monotonic() + READY_S_MAX
    for validator in validators:
        with Connection(validator.url, ANSWER_S_MAX) as connection:
            while not connection.answers(path):
                _pause(validator, processes.get(validator.home))
                if time.monotonic() > until:
                    message = f"{validator.name} is not ready after {READY_S_MAX:.0f} s. The end of its log:"
                    raise Rejected("not_ready", f"{message}\n{log_tail(validator.home)}")
        advance(1)


def _pause(validator: LocalValidator, started: Started | None) -> None:
    """Wait a moment, or until the validator has died, which is refused."""
    died = started.ended(_POLL_S) if started is not None else running_pid(validator.home) is None
    if died:
        message = f"{validator.name} ended before it was ready. The end of its log:\n{log_tail(validator.home)}"
        raise Rejected("validator_died", message)
    if started is None:
        time.sleep(_POLL_S)


def _standing(validator: LocalValidator) -> Standing:
    with Connection(validator.url, ANSWER_S_MAX) as connection:
        try:
            return Standing(validator, connection.get("/v1/status"))
        except (Unreachable, Rejected):
            return Standing(validator, None)


def _root(standing: Standing, height: int) -> str | None:
    """The validator's root after block `height`, None if it cannot tell."""
    status = standing.status or {}
    if status.get("height") == height:
        return str(status["state_root"])
    with Connection(standing.validator.url, ANSWER_S_MAX) as connection:
        try:
            return str(connection.get(f"/v1/blocks/{height}")["state_root"])
        except (Unreachable, Rejected):
            return None


def _entry(standing: Standing) -> dict[str, Any]:
    """One validator's line of ``testnet status --json``; nulls where it does not answer."""
    status = standing.status or {}
    facts = {name: status.get(name) for name in ("height", "view", "state_root", "peers", "committed_txs")}
    running = running_pid(standing.validator.home) is not None
    return {"name": standing.validator.name, **facts, "running": running, "url": standing.validator.url}
