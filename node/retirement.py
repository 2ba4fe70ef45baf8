"""How a validator that was removed while it was away learns of it: nobody lets it in any more, but they tell it why.

Rules:

1. Who proves a certificate of an earlier set that is kept, and of none that is in force, is told so in the hello
   (``retired``), asked for the epoch that it knows, and given the links from there on (`node.set_history`). Then the
   connection ends.
2. Nothing of it is believed: the links must lead on from the set of our own ledger's epoch. Only when they lead to a
   set without our certificate are we retired; that is reported once, and said to whoever asks (`notice`). An answer
   that ends before is a page: the next question begins where it ended. Our own ledger may know already: it ends at the
   edge that removed us, and nobody is left who gives us the blocks above it. Then no link is needed.
3. A retired node goes on running and is silent, since it signs nothing that anybody hears. Should governance take it
   back, the others let it in again, it catches up, and the notice goes with the first connection.
4. Who was removed may have been for a reason, and may ask again and again. What each has had is bounded in time
   (`node.serving_rate`), and one question is answered at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import trio

from contracts.state import State
from genesis.codec import decode, encode, integer, record
from genesis.document import GenesisDocument, GenesisValidator
from genesis.epochs import first_height
from genesis.errors import Rejected
from genesis.evidence import EPOCH_MAX
from node.certificates import certificate_public_key
from node.frames import SNAPSHOT_REQUEST_BYTES_MAX
from node.seats import epoch_of_ledger
from node.serving_rate import ServingRate
from node.set_history import decode_history, encode_links, follow
from node.store import Store
from node.transitions import first_links
from node.trust import Reign, Trust

FORMER_SETS_MAX: Final = 16
"""How far back members of earlier sets are told."""

_REQUEST: Final = record(integer(0, EPOCH_MAX))


class Retirement:
    """Both sides of the rules, for one validator set: who was of an earlier one, and whether we are.

    Attributes:
        former: The certificates of those who are told (rule 1).
        notice: Why we are no validator any more, as its validators have certified; empty if that is not so.

    Args:
        document: The chain.
        store: Where links are.
        state: The state in the epoch that our ledger has come to.
        certificate: Ours.
        report: Called with what an operator should know of.
    """

    def __init__(
        self,
        document: GenesisDocument,
        store: Store,
        state: State,
        certificate: bytes,
        report: Callable[[str, dict[str, int | str]], None],
    ) -> None:
        standing = state.standing
        first = standing.first_epochs[-1]
        self._store = store
        self._certificate = certificate
        self._report = report
        self._trust = Trust(document, None, (Reign(first, None, standing.validators),))
        self._is_at_its_edge = _is_unclosed(state, store) and any(
            each.certificate == certificate for each in standing.validators_of(state.epoch - 1)
        )
        self._rate = ServingRate[bytes]()
        self._asking: defaultdict[bytes, trio.Lock] = defaultdict(trio.Lock)
        self._answering = trio.Lock()
        self.former = _former(state)
        self.notice = ""

    def request(self) -> bytes:
        """Asks for the links from the epoch that we know."""
        return encode_links_request(self._trust.reigns[-1].first_epoch)

    async def answer(self, certificate: bytes, payload: bytes) -> bytes:
        """The links that the retired validator of this certificate asks for, or the first of them.

        Raises:
            Rejected: ``malformed``; ``transitions_not_kept``.
        """
        from_epoch = decode_links_request(payload)
        async with self._asking[certificate]:
            await self._rate.turn(certificate)
            async with self._answering:
                links = await trio.to_thread.run_sync(self._links, from_epoch)
            self._rate.charge(certificate, len(links), sum(map(len, links)))
        return encode_links(links)

    async def hear(self, payload: bytes) -> None:
        """What a peer says to it (rule 2).

        Raises:
            Rejected: It does not lead on from the set that we know.
        """
        history = decode_history(payload)
        if history.start is not None:
            raise Rejected("bad_start", "Whoever is retired starts from the set that it knows.")
        trust = await trio.to_thread.run_sync(follow, self._trust, history)
        last = trust.reigns[-1]
        if self._is_in(last):
            self._trust = replace(trust, shown=(last,))
            return
        if self.notice or not (history.links or self._is_at_its_edge):
            return
        epoch = next(each.first_epoch for each in trust.reigns if not self._is_in(each))
        height, names = first_height(epoch, trust.epoch_blocks), ", ".join(each.name for each in last.members)
        self.notice = (
            f"it is no validator since epoch {epoch} (height {height}), as the validators before have certified; the "
            f"validators of epoch {last.first_epoch} are {names}: it signs nothing, and follows nobody"
        )
        self._report("retired", {"epoch": epoch, "height": height, "validators": names})

    def let_in(self) -> None:
        """A peer has let us in: rule 3."""
        self.notice = ""

    def _is_in(self, reign: Reign) -> bool:
        return any(each.certificate == self._certificate for each in reign.members)

    def _links(self, from_epoch: int) -> tuple[bytes, ...]:
        if from_epoch < self._store.linked_since:
            message = "This node does not keep the changes of the validators from before it joined."
            raise Rejected("transitions_not_kept", message, from_epoch=from_epoch)
        return first_links(self._store, from_epoch)


def encode_links_request(from_epoch: int) -> bytes:
    """Asks for the links from the edge of this epoch on."""
    return encode([from_epoch])


def decode_links_request(payload: bytes) -> int:
    """The inverse of `encode_links_request`; raises `Rejected` (``malformed``)."""
    [from_epoch] = decode(payload, _REQUEST, size_max=SNAPSHOT_REQUEST_BYTES_MAX)
    return int(from_epoch)


def _former(state: State) -> frozenset[bytes]:
    present = {each.certificate for each in state.standing.validators}
    earlier = (each.certificate for each in _earlier(state))
    return frozenset(each for each in earlier if each not in present and _is_certificate(each))


def _is_unclosed(state: State, store: Store) -> bool:
    """Whether the ledger ends at an edge, without the blocks that closed the epoch."""
    epoch_blocks = state.limits.epoch_blocks
    return epoch_of_ledger(state.height, epoch_blocks, lambda epoch: store.closed(epoch) is not None) < state.epoch


def _earlier(state: State) -> Iterator[GenesisValidator]:
    """The members of the sets before the present one, as far back as anybody is told."""
    standing = state.standing
    for first in standing.first_epochs[-1 - FORMER_SETS_MAX : -1]:
        yield from standing.validators_of(first)


def _is_certificate(data: bytes) -> bool:
    try:
        certificate_public_key(data)
    except Rejected:
        return False
    return True
