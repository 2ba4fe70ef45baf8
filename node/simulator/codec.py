"""Messages as bytes: every link carries the real encoding.

A frame that reaches several replicas is decoded once: messages are frozen, so what one replica holds nobody can change.
Bytes that do not decode are remembered as such.
"""

from __future__ import annotations

from typing import Final

from consensus.types import QC, Message, Proposal
from consensus.wire import decode_message, decode_proposal, decode_qc
from genesis.errors import Rejected

FRAMES_REMEMBERED_MAX: Final = 4_096


class Codec:
    """Decodes, and remembers what it decoded."""

    def __init__(self) -> None:
        self._messages: dict[bytes, Message | Rejected] = {}
        self._proposals: dict[bytes, Proposal] = {}

    def message(self, data: bytes) -> Message:
        """The message of these bytes.

        Raises:
            Rejected: As `consensus.wire.decode_message`.
        """
        known = self._messages.get(data)
        if known is None:
            if len(self._messages) >= FRAMES_REMEMBERED_MAX:
                self._messages.clear()
            known = self._messages[data] = _decoded(data)
        if isinstance(known, Rejected):
            raise known
        return known

    def proposal(self, data: bytes) -> Proposal:
        """The proposal of these bytes, from a disk or an answer to a sync request; raises `Rejected`."""
        known = self._proposals.get(data)
        if known is None:
            if len(self._proposals) >= FRAMES_REMEMBERED_MAX:
                self._proposals.clear()
            known = self._proposals[data] = decode_proposal(data)
        return known

    def answer(self, proposals: list[bytes], qc: bytes) -> tuple[tuple[Proposal, ...], QC]:
        """An answer to a sync request; raises `Rejected`."""
        return tuple(self.proposal(each) for each in proposals), decode_qc(qc)


def _decoded(data: bytes) -> Message | Rejected:
    try:
        return decode_message(data)
    except Rejected as fault:
        return fault
