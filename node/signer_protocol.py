"""What a node and its signer say to each other over a Unix domain socket.

Rules (docs/PROTOCOL.md, K):

1. A frame is a big-endian u32 length and that many bytes, 1 to `FRAME_BYTES_MAX`: one canonical array (`genesis.codec`)
   that opens with its tag. A longer one is refused by its length, before its bytes are read.
2. Whoever connects asks, the signer answers each question with one frame, in order. A question waits for the answer to
   the one before.
3. `Hello` comes first, and once: version and chain must be the signer's, the key one of its keys, and every `Sign` that
   follows is for that key. It shows what the asker knows this key to have signed, which raises the key's mark. `Ask`
   may come at any time.
4. A refusal answers the question and changes nothing. What breaks rules 1 to 3 is answered by one too, and ends the
   connection.
5. Both ends belong to one user of one machine: the socket is 0600 in a directory of 0700, and each end asks the system
   who is at the other (`peer_uid`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from genesis.codec import Value, choice, decode, encode, integer, record, sequence, text, uint
from genesis.errors import Rejected
from genesis.values import DIGEST, PUBLIC_KEY, SIGNATURE
from node.signer_guard import (
    MARK,
    STATEMENT,
    VIEW,
    Mark,
    Statement,
    mark_of,
    mark_values,
    statement_of,
    statement_values,
)

VERSION: Final = 2
KEYS_MAX: Final = 16
"""How many keys a signer has at most; each takes Argon2id's time when it starts."""

FRAME_BYTES_MAX: Final = 1_024
SOCKET_PATH_BYTES_MAX: Final = 107
"""What the system takes as a socket's path (``sun_path``, without its end)."""

_HEADER: Final = Struct(">I")
_CREDENTIALS: Final = Struct("3i")
_CODE_CHARACTERS_MAX: Final = 32
_TEXT_CHARACTERS_MAX: Final = 160
_DETAILS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Hello:
    """Which key I mean, and what I know it to have signed."""

    version: int
    chain_id: bytes
    public_key: bytes
    shown: Mark


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign this; `lock_view` as in `node.signer_guard.permit`."""

    statement: Statement
    lock_view: int


@dataclass(frozen=True, slots=True)
class Ask:
    """How does the key at this place, counted from 0, stand?"""

    place: int = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """The hello is accepted, and the mark that follows from it durable."""


@dataclass(frozen=True, slots=True)
class Signed:
    """The signature, 64 bytes."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a `Rejected` says: its code, its message, and the values compared as text."""

    code: str
    message: str
    details: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, error: Rejected) -> Refusal:
        """The refusal that an error amounts to, cut to what a frame holds."""
        details = tuple(
            (name[:_CODE_CHARACTERS_MAX], str(value)[:_TEXT_CHARACTERS_MAX]) for name, value in error.details.items()
        )
        return cls(error.code[:_CODE_CHARACTERS_MAX], error.message[:_TEXT_CHARACTERS_MAX], details[:_DETAILS_MAX])

    def error(self) -> Rejected:
        """The refusal as it was raised in the signer."""
        return Rejected(self.code, self.message, **dict(self.details))


@dataclass(frozen=True, slots=True)
class Standing:
    """How one key of a signer stands.

    Attributes:
        chain_id: The signer's chain.
        keys: How many keys it has, this one included.
        public_key: Which one this is.
        silent: The code of what is wrong with its mark, for which it signs nothing; else empty.
        mark: What it has signed.
        signed, repeated, refused: What it has done since the signer was started.
    """

    chain_id: bytes
    keys: int
    public_key: bytes
    silent: str
    mark: Mark
    signed: int
    repeated: int
    refused: int


Request = Hello | Sign | Ask
Answer = Welcome | Signed | Refusal | Standing

_REQUEST: Final = choice(
    {
        1: record(integer(1, 1), integer(0, 2**16), DIGEST, PUBLIC_KEY, MARK),
        2: record(integer(2, 2), STATEMENT, VIEW),
        3: record(integer(3, 3), integer(0, KEYS_MAX - 1)),
    }
)
_DETAIL: Final = record(text(0, _CODE_CHARACTERS_MAX), text(0, _TEXT_CHARACTERS_MAX))
_ANSWER: Final = choice(
    {
        1: record(integer(1, 1)),
        2: record(integer(2, 2), SIGNATURE),
        3: record(
            integer(3, 3),
            text(0, _CODE_CHARACTERS_MAX),
            text(0, _TEXT_CHARACTERS_MAX),
            sequence(_DETAIL, 0, _DETAILS_MAX),
        ),
        4: record(
            integer(4, 4),
            DIGEST,
            integer(1, KEYS_MAX),
            PUBLIC_KEY,
            text(0, _CODE_CHARACTERS_MAX),
            MARK,
            uint(48),
            uint(48),
            uint(48),
        ),
    }
)


def encode_request(request: Request) -> bytes:
    """A question as one frame."""
    match request:
        case Hello():
            shown = mark_values(request.shown)
            return _frame([1, request.version, request.chain_id, request.public_key, shown])
        case Sign():
            return _frame([2, statement_values(request.statement), request.lock_view])
        case Ask():
            return _frame([3, request.place])


def decode_request(payload: bytes) -> Request:
    """A question from a frame's payload; raises `Rejected` (``too_large``, ``malformed``)."""
    tag, *fields = decode(payload, _REQUEST, size_max=FRAME_BYTES_MAX)
    if tag == 1:
        version, chain_id, public_key, shown = fields
        return Hello(version, chain_id, public_key, mark_of(shown))
    if tag == 2:
        return Sign(statement_of(fields[0]), fields[1])
    return Ask(*fields)


def encode_answer(answer: Answer) -> bytes:
    """An answer as one frame."""
    match answer:
        case Welcome():
            return _frame([1])
        case Signed():
            return _frame([2, answer.signature])
        case Refusal():
            return _frame([3, answer.code, answer.message, answer.details])
        case Standing():
            counts = (answer.signed, answer.repeated, answer.refused)
            named = (answer.chain_id, answer.keys, answer.public_key, answer.silent)
            return _frame([4, *named, mark_values(answer.mark), *counts])


def decode_answer(payload: bytes) -> Answer:
    """An answer from a frame's payload; raises `Rejected` (``too_large``, ``malformed``)."""
    tag, *fields = decode(payload, _ANSWER, size_max=FRAME_BYTES_MAX)
    if tag == 1:
        return Welcome()
    if tag == 2:
        return Signed(*fields)
    if tag == 3:
        return Refusal(*fields)
    chain_id, keys, public_key, silent, mark, *counts = fields
    return Standing(chain_id, keys, public_key, silent, mark_of(mark), *counts)


class FrameBuffer:
    """Cuts frames out of a stream; without IO. Holds at most one incomplete frame and what came with it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def append(self, data: bytes) -> None:
        """Take bytes in, as they come."""
        self._data += data

    def take(self) -> bytes | None:
        """The next frame's payload; None while it is incomplete.

        Raises:
            Rejected: ``frame_too_large``, also for an empty frame; nothing further can be read.
        """
        if len(self._data) < _HEADER.size:
            return None
        (size,) = _HEADER.unpack_from(self._data)
        if not 1 <= size <= FRAME_BYTES_MAX:
            message = f"A frame has 1 to {FRAME_BYTES_MAX} bytes."
            raise Rejected("frame_too_large", message, size=size)
        end = _HEADER.size + size
        if len(self._data) < end:
            return None
        payload = bytes(self._data[_HEADER.size : end])
        del self._data[:end]
        return payload

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for the rest of a frame."""
        return not self._data


def peer_uid(get_option: Callable[[int, int, int], bytes]) -> int:
    """The user at the other end of a Unix domain socket, as the system noted at its connection.

    Args:
        get_option: The socket's ``getsockopt``.
    """
    _, uid, _ = _CREDENTIALS.unpack(get_option(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def _frame(values: Value) -> bytes:
    payload = encode(values)
    return _HEADER.pack(len(payload)) + payload
