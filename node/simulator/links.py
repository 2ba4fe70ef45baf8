"""The network between simulated replicas: who reaches whom, when, how often.

Rules:

1. A link is a pair of *places*: replicas in their order, the twins of a key each with a place of their own.
2. What is sent arrives after a delay, whole, or not at all. Without reordering a link is first in, first out.
3. A link may be cut in one direction. What was sent before arrives all the same; what is sent meanwhile is gone, and
   whoever needs it asks again.
4. What arrives is handed to whichever process then runs at the place, even if it started later: a sender's queue
   outlives the receiver's crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from node.simulator.heap import Heap
from node.simulator.settings import Fault

Deliver = Callable[..., None]
CALM_DELAY_MS: Final = (1, 4)
SPIKE_DELAY_MS: Final = (100, 400)


@dataclass(frozen=True, slots=True)
class Quality:
    """How good every link is at the moment.

    Attributes:
        delay_ms: The least and the most that a frame takes.
        loss, duplication, spike: The shares of frames that are lost, come twice, or take a hundred times as long.
        ordered: Whether a link is first in, first out.
    """

    delay_ms: tuple[int, int] = CALM_DELAY_MS
    loss: float = 0.0
    duplication: float = 0.0
    spike: float = 0.0
    ordered: bool = True


CALM: Final = Quality()


class Links:
    """Every link. `injected` counts what the network did to frames."""

    def __init__(self, heap: Heap, chance: Random, injected: Counter[str]) -> None:
        self.quality = CALM
        self.cut: set[tuple[int, int]] = set()
        self._heap = heap
        self._random = chance.random
        self._injected = injected
        self._latest_ms: dict[tuple[int, int], int] = {}

    def send(self, sender: int, recipient: int, deliver: Deliver, *args: Any) -> None:
        """Call ``deliver(*args)`` when, and as often as, the frame arrives."""
        link = (sender, recipient)
        if link in self.cut:
            self._injected["frames cut off"] += 1
            return
        quality, chance = self.quality, self._random
        if quality.loss and chance() < quality.loss:
            self._injected[Fault.LOSS] += 1
            return
        delay_ms = self._delay_ms(link)
        self._heap.after(delay_ms, deliver, *args)
        if quality.duplication and chance() < quality.duplication:
            self._injected[Fault.DUPLICATION] += 1
            self._heap.after(delay_ms + int(chance() * 50), deliver, *args)

    def _delay_ms(self, link: tuple[int, int]) -> int:
        """How long the next frame on this link takes (rule 2)."""
        quality, chance = self.quality, self._random
        low, high = quality.delay_ms
        if quality.spike and chance() < quality.spike:
            self._injected[Fault.DELAY] += 1
            low, high = SPIKE_DELAY_MS
        delay_ms = low + int(chance() * (high - low + 1))
        now_ms, latest_ms = self._heap.now_ms, self._latest_ms.get(link, 0)
        if now_ms + delay_ms < latest_ms:
            if quality.ordered:
                return latest_ms - now_ms
            self._injected[Fault.REORDER] += 1
            return delay_ms
        self._latest_ms[link] = now_ms + delay_ms
        return delay_ms
