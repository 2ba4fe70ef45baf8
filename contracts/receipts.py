"""What came of an envelope: recorded once, in the block that executed it, for ever.

A receipt with an empty code says that every operation applied; any other code says which rule refused the envelope,
and then nothing moved. Events say what happened, in order, as names and plain values, so that a client needs no table
of the chain's to read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from genesis.codec import Value, decode, encode, record, sequence, text, uint
from genesis.values import DIGEST

Event = tuple[str, tuple[tuple[str, Value], ...]]
"""``(kind, ((name, value), ...))``: values are integers, text, bytes or booleans."""

RECEIPT_BYTES_MAX: Final = 2**20
EVENTS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of one envelope.

    Attributes:
        envelope_id: 32 bytes.
        height: The block that executed it.
        position: Its place among the block's envelopes, from 0.
        code: Empty when applied; else the rejection's stable identifier.
        message: Empty when applied; else a sentence with the values compared.
        events: What applying it did; empty when refused.
    """

    envelope_id: bytes
    height: int
    position: int
    code: str
    message: str
    events: tuple[Event, ...]

    @property
    def applied(self) -> bool:
        """Whether the envelope's operations took effect."""
        return not self.code


def _scalar(value: Value) -> None:
    """Any scalar: the encoding itself excludes everything else."""


_SHAPE: Final = record(
    DIGEST,
    uint(48),
    uint(32),
    text(0, 64),
    text(0, 4096),
    sequence(record(text(1, 64), sequence(record(text(1, 64), _scalar), 0, 64)), 0, EVENTS_MAX),
)


def encode_receipt(receipt: Receipt) -> bytes:
    """The canonical bytes of a receipt."""
    return encode(
        (receipt.envelope_id, receipt.height, receipt.position, receipt.code, receipt.message, receipt.events)
    )


def decode_receipt(data: bytes) -> Receipt:
    """The inverse of `encode_receipt`; `Rejected` on anything else."""
    return Receipt(*decode(data, _SHAPE, size_max=RECEIPT_BYTES_MAX))


def receipt_to_json(receipt: Receipt) -> dict[str, Any]:
    """The receipt as plain values: bytes in hexadecimal, each event as its kind and its named values."""
    return {
        "id": receipt.envelope_id.hex(),
        "height": receipt.height,
        "position": receipt.position,
        "status": "rejected" if receipt.code else "applied",
        "code": receipt.code,
        "message": receipt.message,
        "events": [event_to_json(event) for event in receipt.events],
    }


def event_to_json(event: Event) -> dict[str, Any]:
    """One event as ``{"kind": ..., name: value, ...}``."""
    kind, values = event
    return {"kind": kind, **{name: value.hex() if isinstance(value, bytes) else value for name, value in values}}
