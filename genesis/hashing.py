"""Hash domains: no digest of one kind of thing can ever be a digest of another.

BLAKE2b with 32-byte digests; the domain is its personalisation parameter.
Source: RFC 7693; the personalisation is part of the parameter block, section 2.8 of the BLAKE2 paper.
"""

from __future__ import annotations

from enum import Enum, unique
from hashlib import blake2b
from typing import Final

DIGEST_BYTES: Final = 32
ZERO_DIGEST: Final = bytes(DIGEST_BYTES)


@unique
class Domain(bytes, Enum):
    """What is being hashed. At most 16 bytes each; never reuse one for another meaning."""

    GENESIS = b"novate/genesis/1"
    ENVELOPE = b"novate/envelop/1"
    BATCH = b"novate/batch/1"
    BLOCK = b"novate/block/1"
    PROPOSAL = b"novate/propose/1"
    VOTE = b"novate/vote/1"
    TIMEOUT = b"novate/timeout/1"
    REPLAY = b"novate/replay/1"
    CHANGE = b"novate/change/1"
    EVIDENCE = b"novate/evidenc/1"
    KERNEL = b"novate/kernel/1"
    PROGRAM = b"novate/program/1"
    TAPE = b"novate/tape/1"


def digest(domain: Domain, data: bytes) -> bytes:
    """The 32-byte digest of `data` in `domain`."""
    return blake2b(data, digest_size=DIGEST_BYTES, person=domain).digest()
