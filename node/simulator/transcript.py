"""What happened, in order: a running digest of all of it, the last lines of it, and all of it into a file on demand.

Rules:

1. Everything that enters a core, and every fault, goes into the digest with its moment and its place, as bytes. Two
   runs with one digest went the same way.
2. Lines for people are made when somebody reads them. What is kept for that is bounded.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final, TextIO

from consensus.events import (
    Accuse,
    AskedAhead,
    BlocksReceived,
    Commit,
    Effect,
    EnsurePayload,
    Event,
    Executed,
    FetchBlocks,
    Halt,
    PayloadOffered,
    PayloadStored,
    PersistSafety,
    Received,
    Report,
    RequestPayload,
    Send,
    SignAndSend,
    StoreProposal,
    WakeAt,
)
from consensus.types import QC, TC, Certificates, Header, Message, Proposal, Timeout, Vote

LINES_KEPT: Final = 400
QUIET: Final = (WakeAt, Send, StoreProposal)
"""Effects that happen all the time and explain little."""

Entry = tuple[int, str, Event | str, tuple[Effect, ...]]


class Transcript:
    """The record of one run.

    Args:
        sink: Where every line is written as it happens; None keeps only the last `LINES_KEPT` entries.
    """

    def __init__(self, sink: TextIO | None = None) -> None:
        self._digest = blake2b(digest_size=16)
        self._entries: deque[Entry] = deque(maxlen=LINES_KEPT)
        self._sink = sink

    @property
    def digest(self) -> str:
        """The digest of everything so far, 32 hexadecimal digits."""
        return self._digest.hexdigest()

    def event(self, now_ms: int, name: str, event: Event, mark: bytes, effects: tuple[Effect, ...]) -> None:
        """A core took this event in; `mark` is its content as bytes."""
        self._digest.update(b"%d %s %d " % (now_ms, name.encode(), len(effects)))
        self._digest.update(mark)
        self._keep((now_ms, name, event, effects))

    def note(self, now_ms: int, name: str, text: str) -> None:
        """Something that no core sees: a fault, a crash, a repair."""
        self._digest.update(b"%d %s " % (now_ms, name.encode()))
        self._digest.update(text.encode())
        self._keep((now_ms, name, text, ()))

    def tail(self, lines: int) -> list[str]:
        """The last lines, oldest first."""
        shown = [_line(entry) for entry in list(self._entries)[-lines:]]
        return shown[-lines:]

    def _keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        if self._sink is not None:
            self._sink.write(_line(entry) + "\n")


def _line(entry: Entry) -> str:
    now_ms, name, what, effects = entry
    if isinstance(what, str):
        return f"{now_ms:>8} ms  {name:<4} ** {what}"
    shown = [_effect(each) for each in effects if not isinstance(each, QUIET)]
    outcome = f"  =>  {'; '.join(shown)}" if shown else ""
    return f"{now_ms:>8} ms  {name:<4} {_event(what)}{outcome}"


def _event(event: Event) -> str:
    match event:
        case Received(sender, message):
            return f"from {sender}: {describe(message)}"
        case PayloadOffered(view, payload):
            return f"payload for view {view}: {len(payload)} batches"
        case PayloadStored(block_hash):
            return f"payload of {short(block_hash)} is here"
        case Executed(height, block_hash, state_root):
            return f"executed {height} {short(block_hash)} root {short(state_root)}"
        case BlocksReceived(sender, proposals, _):
            heights = [each.header.height for each in proposals]
            return f"from {sender}: blocks {heights[0]} to {heights[-1]}" if heights else f"from {sender}: no blocks"
        case AskedAhead(sender):
            return f"from {sender}: a request for a later epoch"
    return type(event).__name__


def _effect(effect: Effect) -> str:
    match effect:
        case PersistSafety(state, proposal):
            voted = f" with {short(proposal.header.block_hash)}" if proposal is not None else ""
            return f"persist voted {state.last_voted_view} proposed {state.last_proposed_view}{voted}"
        case SignAndSend(statement, recipients):
            return f"sign {describe(statement)} to {list(recipients)}"
        case RequestPayload(view, _, _):
            return f"ask for a payload for view {view}"
        case EnsurePayload(header, _):
            return f"get the payload of {short(header.block_hash)}"
        case FetchBlocks(peer, from_height, target):
            return f"fetch blocks above {from_height} from {peer}, up to {_qc(target)}"
        case Commit(proposal, _):
            return f"COMMIT {_header(proposal.header)}"
        case Accuse(evidence):
            return f"ACCUSE {evidence.validator} of two {evidence.offence.name.lower()}s in view {evidence.view}"
        case Halt(reason):
            return f"HALT {reason}"
        case Report(kind, details):
            values = ", ".join(f"{name}={str(value)[:40]}" for name, value in details)
            return f"report {kind} {values}"
    return type(effect).__name__


def describe(message: Message) -> str:
    """One message in a few words."""
    match message:
        case Proposal(view, header, justify, tc, _):
            again = f"v{view}: " if view != header.view else ""
            return f"proposal {again}{_header(header)} on {_qc(justify)}{_tc(tc)}"
        case Vote():
            what = f"{message.phase.name.lower()} v{message.view} h{message.height}"
            return f"{what} {short(message.block_hash)} by {message.voter}"
        case Timeout():
            return f"timeout v{message.view} by {message.voter}, {_qc(message.high_qc)}{_tc(message.tc)}"
        case Certificates():
            return f"certificates {_qc(message.high_qc)}{_tc(message.high_tc)}"


def short(digest: bytes) -> str:
    """Enough of a digest for people."""
    return digest[:4].hex()


def _header(header: Header) -> str:
    return f"v{header.view} h{header.height} {short(header.block_hash)} by {header.proposer}"


def _qc(qc: QC) -> str:
    phase = f"{qc.phase.name.lower()} " if qc.phase else ""
    return f"QC({phase}v{qc.view} h{qc.height} {short(qc.block_hash)})"


def _tc(tc: TC | None) -> str:
    return f" TC(v{tc.view})" if tc is not None else ""
