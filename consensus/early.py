"""What replicas that are in the next epoch already say to one that is about to follow: kept, unchecked, for its core.

Replicas close an epoch within moments of each other, and the first proposal of the next comes in these moments. It is
repeated on the beat, but a beat is long. So of each sender the last message of each kind is kept, until the epoch is
closed here; the core of the next epoch then takes them as if they came at that time. Messages of epochs beyond the next
only tell that we are behind (`consensus.syncing`).
"""

from __future__ import annotations

from consensus.events import Received
from consensus.types import Message, ReplicaIndex, Vote
from genesis.statements import Phase


class Early:
    """The messages of the next epoch: of each sender and kind one."""

    def __init__(self, epoch: int) -> None:
        self._next_epoch = epoch + 1
        self._kept: dict[tuple[ReplicaIndex, type[Message], Phase | None], Received] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def messages(self) -> tuple[Received, ...]:
        """What was kept, in the order in which each kind first came."""
        return tuple(self._kept.values())

    def keep(self, sender: ReplicaIndex, message: Message, epoch: int) -> None:
        """Keep a message of `epoch`, if that is the next one."""
        if epoch == self._next_epoch:
            phase = message.phase if isinstance(message, Vote) else None
            self._kept[sender, type(message), phase] = Received(sender, message)
