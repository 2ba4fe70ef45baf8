"""The only place where a simulated replica's engine is made, and where the simulator knows that there are several.

A Byzantine replica runs a real engine as well, one that does not stop when it finds signatures of its key that its own
safety state does not know of: its strategy makes such signatures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from consensus.config import CoreConfig, Recovery
from consensus.core import Core
from consensus.engine import Engine, make_engine
from consensus.hotstuff import safety as hotstuff_rules
from consensus.pbft import safety as pbft_rules
from consensus.types import Proposal, Vote
from genesis.document import ENGINES
from genesis.errors import Rejected
from genesis.statements import Phase

PHASES: Final[Mapping[str, tuple[Phase, ...]]] = {"hotstuff": hotstuff_rules.PHASES, "pbft": pbft_rules.PHASES}


def make_core(engine: str, config: CoreConfig, recovery: Recovery, *, scrupulous: bool) -> Engine:
    """One replica's engine.

    Raises:
        Rejected: ``bad_settings``: there is no such engine.
    """
    check_engine(engine)
    made = make_engine(engine, config, recovery)
    if not scrupulous and isinstance(made, Core):
        made._signatory.stop_if_impersonated = _no_matter  # type: ignore[method-assign]
    return made


def _no_matter(view: int, signers: Iterable[int]) -> None:
    """Stands in for the check that our key signed nothing that our safety state has not allowed."""


def check_engine(engine: str) -> None:
    """Raises `Rejected` with code ``bad_settings`` unless there is such an engine."""
    if engine not in ENGINES:
        raise Rejected("bad_settings", f"No such engine; there are {', '.join(ENGINES)}.", engine=engine)


def votes_for(engine: str, proposal: Proposal, voter: int) -> tuple[Vote, ...]:
    """Every vote that a validator could cast for a proposal, unsigned; for Byzantine strategies."""
    header = proposal.header
    return tuple(
        Vote(header.epoch, proposal.view, phase, header.height, header.block_hash, voter) for phase in PHASES[engine]
    )
