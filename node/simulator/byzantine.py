"""Byzantine replicas: small strategies between a real engine and the world.

Rules:

1. A strategy signs with its own replica's key and no other; whatever else it says is in the open.
2. It sees what its replica hears, and chooses, from the run's chance, when to misbehave: one that always does is soon
   ignored.
3. Altered statements are copies of real ones (`dataclasses.replace`), so that only the field at issue is wrong.
4. How often it did what it is for is counted under its fault's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from consensus.types import (
    OBSERVER,
    Anchor,
    Certificates,
    Header,
    Message,
    Proposal,
    Statement,
    Timeout,
    Vote,
    base_qc,
    epoch_of,
)
from consensus.wire import encode_message
from node.simulator.engines import votes_for
from node.simulator.settings import Fault

if TYPE_CHECKING:
    from node.simulator.replica import Replica
    from node.simulator.terms import Term

Sent = tuple[Message, tuple[int, ...]]
MEMORY: Final = 24
"""How many messages a strategy keeps to say again."""

EXPELLED_EVERY_MS: Final = 20
"""How often one speaks that has been removed from the set."""

RECENT: Final = 4
"""How far back a fork begins, mostly: what is long committed tempts nobody."""


class Strategy:
    """Behaves: the base of the others, and all that a twin needs."""

    fault: ClassVar[Fault] = Fault.TWIN

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """What is sent instead of this signed message."""
        return ((message, recipients),)

    def heard(self, replica: Replica, message: Message) -> None:
        """A message has come in, and goes to the engine next."""

    def offer(self, replica: Replica, payload: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """What its block orders instead of this."""
        return payload

    def serves(self, replica: Replica, name: bytes) -> bool:
        """Whether it gives a batch to one that asks."""
        return True

    def sends_batch(self, replica: Replica, recipient: int) -> bool:
        """Whether it sends a batch of its own to this operator."""
        return True

    def blocks(self, replica: Replica, blocks: list[bytes]) -> list[bytes]:
        """What it answers to a sync request instead of these."""
        return blocks

    def begins(self, replica: Replica) -> None:
        """Its engine is that of another epoch now."""

    def does(self, replica: Replica, share: float) -> bool:
        """Whether to misbehave this time; counted when so."""
        if replica.world.chance.random() >= share:
            return False
        replica.world.oracle.counts[self.fault] += 1
        return True


class Equivocate(Strategy):
    """As a leader shows each half another block, and votes for both."""

    fault = Fault.EQUIVOCATE

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """Rows 1 and 2 of the fault catalogue."""
        if not isinstance(message, Proposal) or not self.does(replica, 0.7):
            return ((message, recipients),)
        header = replace(message.header, time_unix_ms=message.header.time_unix_ms + 1)
        rival = replica.sign(replace(message, header=header))
        half = tuple(each for each in recipients if replica.world.chance.random() < 0.5)
        rest = tuple(each for each in recipients if each not in half)
        votes = [replica.sign(vote) for each in (message, rival) for vote in _votes(replica, each)]
        return ((message, half), (rival, rest), *((vote, recipients) for vote in votes))


class DoubleVote(Strategy):
    """Votes for whatever it hears of, in any view, whatever it said before."""

    fault = Fault.DOUBLE_VOTE

    def heard(self, replica: Replica, message: Message) -> None:
        """A vote for every proposal, and now and then one for a block that nobody knows."""
        if isinstance(message, Proposal) and self.does(replica, 0.6):
            for vote in _votes(replica, message):
                rivals = [vote, replace(vote, block_hash=bytes(32))] if replica.world.chance.random() < 0.4 else [vote]
                for each in replica.world.chance.sample(rivals, len(rivals)):
                    replica.broadcast(replica.sign(each))


class Withhold(Strategy):
    """Keeps silent in one kind of message, sometimes for good."""

    fault = Fault.WITHHOLD

    def __init__(self) -> None:
        self._kinds: tuple[type, ...] | None = None
        self._share = 1.0

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """Row 11: a silent leader, a silent voter, or one that is merely silent."""
        chance = replica.world.chance
        if self._kinds is None:
            kinds: list[tuple[type, ...]] = [(Proposal,), (Vote,), (Timeout,), (Proposal, Vote, Timeout, Certificates)]
            self._kinds = chance.choice(kinds)
            self._share = chance.choice([0.5, 1.0])
        if isinstance(message, self._kinds) and self.does(replica, self._share):
            return ()
        return ((message, recipients),)


class WithholdBatch(Strategy):
    """Orders batches that it shows to few or to nobody."""

    fault = Fault.WITHHOLD_BATCH

    def offer(self, replica: Replica, payload: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Row 16: sometimes a digest of nothing at all."""
        if self.does(replica, 0.3):
            return (*payload[:3], replica.world.chance.randbytes(32))
        return payload

    def serves(self, replica: Replica, name: bytes) -> bool:
        """To nobody."""
        return not self.does(replica, 0.9)

    def sends_batch(self, replica: Replica, recipient: int) -> bool:
        """To one validator, at most."""
        return recipient == replica.term.peers[0] or not self.does(replica, 0.8)


class Selective(Strategy):
    """Sends each message to only some: f + 1, or 2 f, or whoever it likes."""

    fault = Fault.SELECTIVE

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """Row 13."""
        if len(recipients) < 2 or not self.does(replica, 0.6):
            return ((message, recipients),)
        faulty = (len(replica.term.members) - 1) // 3
        chance = replica.world.chance
        size = min(len(recipients), chance.choice([1, faulty + 1, max(1, 2 * faulty)]))
        return ((message, tuple(sorted(chance.sample(recipients, size)))),)


class Censor(Strategy):
    """Never orders the batches of one author."""

    fault = Fault.CENSOR

    def offer(self, replica: Replica, payload: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Row 14. By the first byte of the digest, as good as any client."""
        kept = tuple(each for each in payload if each[0] % 2)
        return kept if len(kept) < len(payload) and self.does(replica, 1.0) else payload


class FutureViews(Strategy):
    """Votes and gives up views that nobody can be in."""

    fault = Fault.FUTURE_VIEWS

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """Row 24."""
        sent: list[Sent] = [(message, recipients)]
        if isinstance(message, Vote | Timeout) and self.does(replica, 0.7):
            chance = replica.world.chance
            far = message.view + chance.choice([1, 2, 5, 9, 10**6 + int(chance.random() * 10**6)])
            sent.append((replica.sign(replace(message, view=far, signature=b"")), recipients))
        return sent


class InvalidBlocks(Strategy):
    """Proposes blocks that break one rule each."""

    fault = Fault.INVALID_BLOCKS

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """Row 15."""
        if not isinstance(message, Proposal) or not self.does(replica, 0.7):
            return ((message, recipients),)
        spoilt = replica.world.chance.choice(_spoilt(message.header, replica.world.params.block_batches_max))
        return ((replica.sign(replace(message, header=spoilt)), recipients),)

    def blocks(self, replica: Replica, blocks: list[bytes]) -> list[bytes]:
        """Answers with a gap, or with what does not decode."""
        if len(blocks) > 1 and self.does(replica, 0.5):
            return [*blocks[:1], *blocks[2:]] if replica.world.chance.random() < 0.5 else [blocks[0][:-1], *blocks[1:]]
        return blocks


class Stale(Strategy):
    """Shows old certificates: forks the tail, hides the highest QC, repeats what it once heard."""

    fault = Fault.STALE

    def __init__(self) -> None:
        self._certified: list[Proposal] = []

    def heard(self, replica: Replica, message: Message) -> None:
        """Keep proposals: each has a QC, and tells the header of the block that a later one certifies."""
        if isinstance(message, Proposal):
            self._certified.append(message)
            del self._certified[:-MEMORY]

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """Row 18, and what a hidden lock would be."""
        if not self._certified or isinstance(message, Vote) or not self.does(replica, 0.6):
            return ((message, recipients),)
        chance = replica.world.chance
        old = chance.choice(self._certified[-RECENT:] if chance.random() < 0.7 else self._certified)
        match message:
            case Certificates():
                return ((Certificates(old.justify, old.tc), recipients),)
            case Timeout():
                low = replace(message, high_qc=old.justify, signature=b"")
                return ((replica.sign(low), recipients), (message, recipients[:1]))
            case Proposal():
                return ((self._fork(replica, message, old), recipients),)

    def _fork(self, replica: Replica, message: Proposal, old: Proposal) -> Proposal:
        """The same view's block on top of an older certified block, and sometimes with certificates that hide it: the
        newer QC beside the older parent, or a TC that is said to carry the older QC."""
        parent, hides = old.justify, replica.world.chance.random()
        if hides < 0.3 and message.tc is not None:
            message = replace(message, tc=replace(message.tc, high_qc=parent))
        header = replace(
            message.header,
            height=parent.height + 1,
            parent_hash=parent.block_hash,
            parent_view=parent.view,
            anchor=old.header.anchor,
        )
        justify = message.justify if hides > 0.7 else parent
        return replica.sign(replace(message, header=header, justify=justify, signature=b""))


class Forge(Strategy):
    """Garbage, broken signatures, other people's names, old frames, another epoch."""

    fault = Fault.FORGE

    def __init__(self) -> None:
        self._old: list[Message] = []

    def heard(self, replica: Replica, message: Message) -> None:
        """Keep some to repeat."""
        if replica.world.chance.random() < 0.1:
            self._old.append(message)
            del self._old[:-MEMORY]

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """Rows 25, 28 and 29."""
        if not self.does(replica, 0.6):
            return ((message, recipients),)
        chance = replica.world.chance
        others = replica.term.validators.others(replica.index)
        replica.send_bytes(chance.randbytes(1 + int(chance.random() * 200)), None, recipients)
        sent: list[Sent] = [(message, recipients)]
        sent += [(each, recipients) for each in self._old[:2]]
        match message:
            case Vote() | Timeout():
                victim = chance.choice(others)
                sent.append((replica.sign(replace(message, voter=victim, signature=b"")), recipients))
                sent.append((replace(message, signature=chance.randbytes(64)), recipients))
                sent.append((replica.sign(replace(message, epoch=message.epoch + 1, signature=b"")), recipients))
            case Proposal():
                forged = replace(message.justify, view=message.justify.view + 1)
                sent.append((replica.sign(replace(message, justify=forged, signature=b"")), recipients))
            case Certificates():
                bare = replace(
                    message.high_qc, view=message.high_qc.view + 3, signatures=message.high_qc.signatures[:1]
                )
                sent.append((Certificates(bare, None), recipients))
        return sent


class OldEpoch(Strategy):
    """Speaks of other epochs: repeats what was said in old ones, signs for the one before and the one after, and goes
    on when it has been removed from the set, by way of an accomplice that has not."""

    fault = Fault.OLD_EPOCH

    def __init__(self) -> None:
        self._kept: list[Message] = []
        self._place = 0

    def heard(self, replica: Replica, message: Message) -> None:
        """Keep some, from a few epochs."""
        if replica.world.chance.random() < 0.1:
            self._kept.append(message)
            del self._kept[: -4 * MEMORY]

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> Iterable[Sent]:
        """Row 25."""
        sent: list[Sent] = [(message, recipients)]
        if not self.does(replica, 0.5):
            return sent
        chance = replica.world.chance
        old = [each for each in self._kept if epoch_of(each) != replica.term.epoch]
        sent += [(each, recipients) for each in chance.sample(old, min(2, len(old)))]
        step = chance.choice((-1, 1)) if replica.term.epoch else 1
        match message:
            case Vote() | Timeout():
                sent.append((replica.sign(replace(message, epoch=message.epoch + step, signature=b"")), recipients))
            case Proposal():
                header = replace(message.header, epoch=message.header.epoch + step)
                sent.append((replica.sign(replace(message, header=header, signature=b"")), recipients))
        return sent

    def begins(self, replica: Replica) -> None:
        """Row 33."""
        if replica.term.place != OBSERVER:
            self._place = replica.term.place
        else:
            replica.after(EXPELLED_EVERY_MS, self._go_on, replica, replica.term, 1)

    def _go_on(self, replica: Replica, term: Term, view: int) -> None:
        """Lead, vote and give up in an epoch of which it is no member."""
        if replica.term is not term:
            return
        self.does(replica, 1.0)
        base, root = term.base, term.base_root or bytes(32)
        anchor = Anchor(base.height, base.block_hash, root)
        at_unix_ms = max(base.time_unix_ms + 1, replica.now.chain_unix_ms)
        header = Header(term.epoch, base.height + 1, view, self._place, base.block_hash, 0, at_unix_ms, anchor, ())
        proposal = Proposal(view, header, base_qc(term.epoch, base), None)
        votes = (replace(each, voter=self._place) for each in _votes(replica, proposal))
        given_up = Timeout(term.epoch, view, proposal.justify, None, self._place)
        said: list[Statement] = [proposal, given_up, *votes]
        signed: list[Message] = [replica.sign(each) for each in said]
        for message in (*signed, *self._kept[-2:]):
            for operator in replica.world.operators:
                if operator != replica.operator:
                    replica.send_frame(encode_message(message), message, operator)
        replica.after(EXPELLED_EVERY_MS, self._go_on, replica, term, view + 1)


def _votes(replica: Replica, proposal: Proposal) -> tuple[Vote, ...]:
    return votes_for(replica.world.settings.engine, proposal, replica.index)


def _spoilt(header: Header, batches_max: int) -> list[Header]:
    """Headers that break one rule each."""
    anchor = header.anchor
    junk = b"\x07" * 32
    return [
        replace(header, anchor=replace(anchor, state_root=junk)),
        replace(header, anchor=replace(anchor, height=anchor.height + 1)),
        replace(header, anchor=replace(anchor, block_hash=junk)),
        replace(header, payload=tuple(bytes([each]) * 32 for each in range(batches_max + 1))),
        replace(header, payload=(junk, junk)),
        replace(header, payload=(*header.payload, junk)),
        replace(header, time_unix_ms=header.time_unix_ms + 3_600_000),
        replace(header, time_unix_ms=0),
        replace(header, height=header.height + 1),
        replace(header, view=header.view + 4),
        replace(header, parent_hash=junk),
        replace(header, parent_view=max(0, header.parent_view - 1)),
        replace(header, proposer=header.proposer + 1),
        replace(header, epoch=header.epoch + 1),
    ]


STRATEGIES: Final[dict[Fault, type[Strategy]]] = {
    each.fault: each
    for each in (
        Strategy,
        Equivocate,
        DoubleVote,
        Withhold,
        WithholdBatch,
        Selective,
        Censor,
        FutureViews,
        InvalidBlocks,
        Stale,
        Forge,
        OldEpoch,
    )
}
