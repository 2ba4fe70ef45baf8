"""A stage: three honest replicas, and a puppet with the fourth key that also owns the network.

Rules:

1. Honest replicas hear nobody but the puppet until the end of the scene; it sees everything that they send. All of it
   is what one Byzantine replica of four, and a network that delays, may do.
2. The puppet, replica 0, leads the first `REIGN` views, the others take turns of as many.
3. A scene that cannot go on, because the honest do not do what it needs, is foiled: that is the clean product's end.
4. Whatever came of the scene, the network is whole then, and every honest replica must make progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any, Final

from consensus.engine import rules_of
from consensus.types import (
    QC,
    TC,
    Anchor,
    Certificates,
    Header,
    Message,
    Proposal,
    Timeout,
    TimeoutSignature,
    Vote,
    signing_message,
)
from consensus.wire import decode_safety, encode_message
from genesis.statements import Phase
from node.simulator.cast import Cast
from node.simulator.cluster import Cluster
from node.simulator.replica import Replica
from node.simulator.run import progress
from node.simulator.settings import Fault, Settings

PUPPET: Final = 0
REIGN: Final = 8
PATIENCE_MS: Final = 2_000


class Foiled(Exception):
    """The honest do not do what the scene needs."""


class Reigns:
    """Leaders who stay for `REIGN` views."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.special: dict[int, int] = {}
        """Views that a scene gives to another leader."""

    def leader(self, view: int) -> int:
        """Rule 2."""
        return self.special.get(view, (view // REIGN) % self._size)


class Stage(Cluster):
    """The network of a scene."""

    def __init__(self, engine: str, seed: int) -> None:
        settings = Settings(seed, engine, (1,) * 4, faults=())
        cast = Cast(((PUPPET, Fault.WITHHOLD),))
        self.reigns = Reigns(4)
        super().__init__(settings, Random(seed), cast, leaders=self.reigns)
        self.rules = rules_of(engine)
        self.engine = engine
        self.is_over = False
        self.said: dict[bytes, Message] = {}
        self.speakers: set[int] = set()
        """Who has said anything, since a scene last cleared it."""
        self.genesis_qc = decode_safety(self.first_safety).high_qc

    def may_pass(self, sender: Replica, recipient: Replica, message: Message | None) -> bool:
        """Rule 1."""
        if message is not None and not self.is_over:
            self.speakers.add(sender.index)
            self.said.setdefault(encode_message(message), message)
        return self.is_over

    def play(self, scene: Callable[[Stage], None], *, is_puppet_honest: bool = False) -> None:
        """A scene, and its end (rules 3 and 4); an honest puppet lives on as a replica. Raises `Violation`."""
        for replica in self.honest:
            replica.start()
        with suppress(Foiled):
            scene(self)
        self.release(is_puppet_honest=is_puppet_honest)
        progress(self)

    def release(self, *, is_puppet_honest: bool) -> None:
        """The network is whole; an honest puppet is a replica from now on."""
        self.is_over = True
        if is_puppet_honest and not self.replicas[PUPPET].is_up:
            self.replicas[PUPPET].strategy = None
            self.replicas[PUPPET].start()

    # --- what the puppet hears ----------------------------------------------------------------------------------------

    def wait(self, is_done: Callable[[], bool]) -> None:
        """Let time pass until this holds; `Foiled` if it never does."""
        if not self.heap.run_until(is_done, self.heap.now_ms + PATIENCE_MS):
            raise Foiled

    def settle(self) -> None:
        """Let everything that was told arrive, and no timer end."""
        self.heap.run(5)

    def votes(self, proposal: Proposal, phase: Phase) -> dict[int, bytes]:
        """Who has voted for this, with the signatures."""
        block, view = proposal.header.block_hash, proposal.view
        found = (each for each in self.said.values() if isinstance(each, Vote))
        return {
            each.voter: each.signature
            for each in found
            if (each.block_hash, each.view, each.phase) == (block, view, phase)
        }

    def timeouts(self, view: int) -> dict[int, Timeout]:
        """Who has given up this view, and what they said."""
        found = (each for each in self.said.values() if isinstance(each, Timeout))
        return {each.voter: each for each in found if each.view == view}

    # --- what the puppet says -----------------------------------------------------------------------------------------

    def tell(self, message: Message, *recipients: int, by: int = PUPPET) -> None:
        """Send it to these, and let it arrive."""
        for index in recipients:
            self.replicas[index].arrive("on_message", by, encode_message(message))
        self.settle()

    def show(self, qc: QC, *recipients: int, tc: TC | None = None) -> None:
        """Send certificates to these."""
        self.tell(Certificates(qc, tc), *recipients)

    def sign(self, statement: Any) -> Any:
        """With the puppet's key."""
        message = signing_message(self.chain_id, statement)
        return replace(statement, signature=self.signatures.sign(self.replicas[PUPPET].public_key, message))

    def block(self, view: int, justify: QC, parent: Header | None = None, salt: int = 0, **changes: Any) -> Header:
        """A block of the puppet's on top of `parent`, genesis by default; `salt` makes another one."""
        below = parent if parent is not None else self.ledger.genesis
        height, name = self.rules.anchor_of_child(below) if parent is not None else (0, below.block_hash)
        header = Header(
            epoch=0,
            height=below.height + 1,
            view=view,
            proposer=PUPPET,
            parent_hash=below.block_hash,
            parent_view=justify.view,
            time_unix_ms=max(below.time_unix_ms, self.origin_unix_ms) + 1 + salt,
            anchor=Anchor(height, name, self.ledger.genesis.anchor.state_root),
            payload=(),
        )
        return replace(header, **changes)

    def proposal(
        self,
        view: int,
        justify: QC | None = None,
        parent: Header | None = None,
        tc: TC | None = None,
        salt: int = 0,
        **changes: Any,
    ) -> Proposal:
        """Signed; on top of genesis by default."""
        qc = justify if justify is not None else self.genesis_qc
        proposal: Proposal = self.sign(Proposal(view, self.block(view, qc, parent, salt, **changes), qc, tc))
        return proposal

    def vote(self, proposal: Proposal, phase: Phase) -> bytes:
        """The puppet's own signature for it."""
        header = proposal.header
        signed: Vote = self.sign(Vote(header.epoch, proposal.view, phase, header.height, header.block_hash, PUPPET))
        return signed.signature

    # --- certificates -------------------------------------------------------------------------------------------------

    def qc(self, proposal: Proposal, signatures: Iterable[tuple[int, bytes]], phase: Phase | None = None) -> QC:
        """A certificate of it, whatever it is worth."""
        header = proposal.header
        shown = phase if phase is not None else self.rules.PHASES[0]
        return QC(header.epoch, proposal.view, shown, header.height, header.block_hash, tuple(signatures))

    def certify(self, proposal: Proposal, *voters: int, phase: Phase | None = None) -> QC:
        """Wait for the votes of these; a genuine certificate of them and the puppet."""
        shown = phase if phase is not None else self.rules.PHASES[0]
        self.wait(lambda: set(voters) <= set(self.votes(proposal, shown)))
        given = self.votes(proposal, shown)
        own = (PUPPET, self.vote(proposal, shown))
        return self.qc(proposal, [own, *((each, given[each]) for each in sorted(voters))], shown)

    def gave_up(self, view: int, *voters: int) -> dict[int, Timeout]:
        """Wait until these have given the view up."""
        self.wait(lambda: set(voters) <= set(self.timeouts(view)))
        return self.timeouts(view)

    def tc(self, view: int, *voters: int, lie: QC | None = None, claim: QC | None = None) -> TC:
        """Wait until these have given the view up; a certificate of them and the puppet, which reports `lie` (genesis
        by default), with the highest certificate reported, or `claim` in its place."""
        given = self.gave_up(view, *voters)
        reported = lie if lie is not None else self.genesis_qc
        own: Timeout = self.sign(Timeout(0, view, reported, None, PUPPET))
        all_said = [own, *(given[each] for each in sorted(voters))]
        highest = max((each.high_qc for each in all_said), key=lambda qc: qc.rank)
        signatures = tuple(TimeoutSignature(each.voter, each.high_qc.view, each.signature) for each in all_said)
        return TC(0, view, claim if claim is not None else highest, signatures)

    # --- a block all the way ------------------------------------------------------------------------------------------

    def commit(self, proposal: Proposal, voters: tuple[int, ...], told: tuple[int, ...]) -> None:
        """Have a block voted for by these, and show those what commits it."""
        self.tell(proposal, *voters)
        qc = self.certify(proposal, *voters)
        if self.engine == "pbft":
            self.show(qc, *voters)
            self.show(self.certify(proposal, *voters, phase=Phase.COMMIT), *told)
            return
        child = self.proposal(proposal.view + 1, qc, proposal.header)
        self.tell(child, *voters)
        self.show(self.certify(child, *voters), *told)
