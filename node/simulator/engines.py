"""The only place where a simulated replica's engine is made, and where engines differ for the simulator.

A Byzantine replica runs a real engine as well, one that does not stop when it finds signatures of its key that its own
safety state does not know of: its strategy makes such signatures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from consensus.config import CoreConfig, Recovery
from consensus.events import SafetyState
from consensus.hotstuff.core import Core
from consensus.hotstuff.safety import fresh_safety
from consensus.types import Header, Proposal, Vote
from genesis.errors import Rejected

Engine = Core
ENGINES: Final = ("hotstuff",)


class Unscrupulous(Core):
    """A Byzantine replica's engine: it does not stop for its twin."""

    def __init__(self, config: CoreConfig, recovery: Recovery) -> None:
        super().__init__(config, recovery)
        self._signatory.stop_if_impersonated = _no_matter  # type: ignore[method-assign]


def _no_matter(view: int, signers: Iterable[int]) -> None:
    """Stands in for the check."""


def make_core(engine: str, config: CoreConfig, recovery: Recovery, *, scrupulous: bool) -> Engine:
    """One replica's engine.

    Raises:
        Rejected: ``bad_settings``: there is no such engine.
    """
    check_engine(engine)
    return Core(config, recovery) if scrupulous else Unscrupulous(config, recovery)


def check_engine(engine: str) -> None:
    """Raises `Rejected` with code ``bad_settings`` unless there is such an engine."""
    if engine not in ENGINES:
        raise Rejected("bad_settings", f"No such engine here; there is {', '.join(ENGINES)}.", engine=engine)


def first_safety(engine: str, genesis: Header) -> SafetyState:
    """The safety state of a validator that has never signed anything."""
    check_engine(engine)
    return fresh_safety(genesis)


def votes_for(engine: str, proposal: Proposal, voter: int) -> tuple[Vote, ...]:
    """Every vote that a validator could cast for a proposal, unsigned; for Byzantine strategies."""
    header = proposal.header
    return (Vote(header.epoch, header.view, header.height, header.block_hash, voter),)
