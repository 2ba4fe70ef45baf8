"""Repetition: nothing is sent only once.

On every beat (``resend_interval_ms``, from the start on) what we have said in the current view goes out again, and the
highest certificates with it, to everybody. So whatever the network lost arrives in the end, and a replica that was cut
off learns where the others are. Times are milliseconds of the shell's monotonic clock.
"""

from __future__ import annotations

from consensus.chain import Chain
from consensus.config import CoreConfig
from consensus.signatory import Signatory
from consensus.types import Message, ReplicaIndex, Statement, Vote
from consensus.voting import Voting
from genesis.statements import Phase


class Repeating:
    """Owns the beat, and what was said in one view: of each kind of statement the last."""

    def __init__(self, config: CoreConfig, chain: Chain, voting: Voting, signatory: Signatory) -> None:
        self._me = config.index
        self._others = config.others
        self._interval_ms = config.params.resend_interval_ms
        self._chain = chain
        self._voting = voting
        self._signatory = signatory
        self._beat_ms = 0
        self._view = 0
        self._said: dict[tuple[type[Statement], Phase | None], Statement] = {}

    @property
    def beat_ms(self) -> int:
        """When the next beat is."""
        return self._beat_ms

    def start(self, now_ms: int) -> None:
        """The process runs from here."""
        self._beat_ms = now_ms + self._interval_ms

    def keep_own(self, sender: ReplicaIndex, message: Message) -> None:
        """Keep what we said in the current view; it comes back from the shell, signed."""
        if sender != self._me or not isinstance(message, Statement):
            return
        if message.view != self._chain.view:
            return
        if message.view != self._view:
            self._view, self._said = message.view, {}
        self._said[type(message), message.phase if isinstance(message, Vote) else None] = message

    def repeat_if_due(self, now_ms: int) -> None:
        """Say it again, if the beat has come."""
        if now_ms < self._beat_ms:
            return
        self._beat_ms = now_ms + self._interval_ms
        for statement in self._said.values() if self._view == self._chain.view else ():
            recipients = self._voting.recipients if isinstance(statement, Vote) else self._others
            self._signatory.send(statement, recipients)
        self._signatory.send(self._chain.certificates, self._others)
