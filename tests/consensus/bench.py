"""One core on a bench: hand-made blocks and certificates go in, what it signs comes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from consensus import events as ev
from consensus.config import CoreConfig, Recovery
from consensus.engine import make_engine
from consensus.hotstuff import safety as hotstuff
from consensus.rules import Rules
from consensus.safety import fresh_safety
from consensus.types import (
    QC,
    TC,
    Anchor,
    Header,
    Message,
    Proposal,
    Statement,
    Timeout,
    TimeoutSignature,
    Vote,
    genesis_qc,
)
from genesis.evidence import Evidence
from genesis.hashing import Domain, digest
from genesis.statements import Phase
from tests.consensus.cluster import CHAIN_ID, GENESIS, PARAMS, make_validators, sign

VALIDATORS = make_validators((1, 1, 1, 1))
QUORUM = (1, 2, 3)
"""Those who sign certificates: all but the core on the bench, which would notice what it did not sign."""
GENESIS_QC = genesis_qc(GENESIS.block_hash)


def state_root(height: int, block_hash: bytes) -> bytes:
    """The bench's state machine: the root after a block is a digest of its hash."""
    return digest(Domain.BLOCK, block_hash) if height else GENESIS.anchor.state_root


def make_proposal(
    view: int,
    parent: Header = GENESIS,
    justify: QC | None = None,
    tc: TC | None = None,
    rules: Rules = hotstuff,
    **changes: object,
) -> Proposal:
    """A signed proposal of the leader of `view` on top of `parent`; `changes` replace fields of its header."""
    height, block_hash = rules.anchor_of_child(parent) if parent.height else (0, parent.block_hash)
    justify = justify if justify is not None else make_qc(parent, phase=rules.PHASES[-1])
    header = Header(
        epoch=0,
        height=parent.height + 1,
        view=view,
        proposer=view % 4,
        parent_hash=parent.block_hash,
        parent_view=justify.view,
        time_unix_ms=parent.time_unix_ms + 1,
        anchor=Anchor(height, block_hash, state_root(height, block_hash)),
        payload=(),
    )
    header = replace(header, **changes)  # type: ignore[arg-type]
    return sign(Proposal(header.view, header, justify, tc), header.proposer)


def make_qc(
    header: Header, voters: Iterable[int] = QUORUM, *, phase: Phase = Phase.CERTIFY, view: int | None = None
) -> QC:
    """A QC by these voters; `view` is the block's unless it was proposed again later."""
    if header.height == 0:
        return GENESIS_QC
    view = header.view if view is None else view
    vote = Vote(0, view, phase, header.height, header.block_hash, 0)
    marks = tuple((voter, sign(replace(vote, voter=voter), voter).signature) for voter in voters)
    return QC(0, view, phase, header.height, header.block_hash, marks)


def make_timeout(view: int, high_qc: QC, voter: int, tc: TC | None = None) -> Timeout:
    """A signed timeout."""
    return sign(Timeout(0, view, high_qc, tc, voter), voter)


def make_tc(view: int, *high_qcs: QC) -> TC:
    """A TC whose signers, from validator 1 on (the core on the bench is 0), report these QCs."""
    each = [make_timeout(view, high_qc, voter) for voter, high_qc in enumerate(high_qcs, start=1)]
    marks = tuple(TimeoutSignature(t.voter, t.high_qc.view, t.signature) for t in each)
    return TC(0, view, max(high_qcs, key=lambda qc: qc.rank), marks)


class Bench:
    """A core of validator 0 whose shell does at once what it is asked to."""

    def __init__(self, engine: str = "hotstuff") -> None:
        self.engine = engine
        self.safety: ev.SafetyState | None = fresh_safety(GENESIS)
        self.signed: list[Statement] = []
        self.committed: list[Header] = []
        self.reports: list[dict[str, int | str]] = []
        self.accusations: list[Evidence] = []
        self.halted: str | None = None
        self.effects: list[ev.Effect] = []
        self.now_ms = 0
        self.wrong_roots = False
        self.restart()

    def restart(self, pending: tuple[Proposal, ...] = ()) -> None:
        """A new process on the same safety state and a store that holds these blocks above genesis."""
        self.committed = []
        config = CoreConfig(CHAIN_ID, 0, VALIDATORS, PARAMS, GENESIS)
        self.core = make_engine(self.engine, config, Recovery(self.safety, pending=pending))
        self.feed(ev.Started())

    def receive(self, message: Message, sender: int = 1) -> None:
        """A message from a peer."""
        self.feed(ev.Received(sender, message))

    def wait(self, span_ms: int) -> None:
        """Let time pass."""
        self.now_ms += span_ms
        self.feed(ev.WokenUp())

    def feed(self, event: ev.Event) -> None:
        """One event, and everything that follows from it."""
        for effect in self.core.handle(event, ev.Now(self.now_ms, GENESIS.time_unix_ms + self.now_ms)):
            self.effects.append(effect)
            match effect:
                case ev.PersistSafety(state, _):
                    self.safety = state
                case ev.SignAndSend(statement, _):
                    self.signed.append(statement)
                    self.feed(ev.Received(0, sign(statement, 0)))  # type: ignore[type-var]
                case ev.EnsurePayload(header, _):
                    self.feed(ev.PayloadStored(header.block_hash))
                case ev.Commit(proposal, _):
                    self.commit(proposal.header)
                case ev.Report(kind, details):
                    self.reports.append({"kind": kind, **dict(details)})
                case ev.Accuse(evidence):
                    self.accusations.append(evidence)
                case ev.Halt(reason):
                    self.halted = reason

    def commit(self, header: Header) -> None:
        self.committed.append(header)
        root = bytes(32) if self.wrong_roots else state_root(header.height, header.block_hash)
        self.feed(ev.Executed(header.height, header.block_hash, root))

    @property
    def votes(self) -> list[bytes]:
        """The proposed blocks voted for, over all restarts."""
        return [each.block_hash for each in self._votes if each.phase is not Phase.COMMIT]

    @property
    def commits(self) -> list[tuple[int, bytes]]:
        """The COMMIT votes signed, over all restarts: view and block."""
        return [(each.view, each.block_hash) for each in self._votes if each.phase is Phase.COMMIT]

    @property
    def proposals(self) -> list[Proposal]:
        """What was proposed, over all restarts."""
        return [each for each in self.signed if isinstance(each, Proposal)]

    @property
    def _votes(self) -> list[Vote]:
        return [each for each in self.signed if isinstance(each, Vote)]

    @property
    def timeouts(self) -> list[Timeout]:
        """The timeouts signed, over all restarts."""
        return [each for each in self.signed if isinstance(each, Timeout)]

    def rejections(self) -> list[object]:
        """The codes of what was refused."""
        return [report["code"] for report in self.reports if report["kind"] == "rejected"]
