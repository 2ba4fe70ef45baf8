"""Who signs for the replica: the key in this process, or a signer in a process of its own (`node.signer_client`).

The replica asks for one signature at a time and waits for the answer, so the order of its effects holds whoever signs.
What may be signed at all is decided before: the core's safety rules, whose state is durable by then. A signer of its
own decides once more, by what the key has signed for whomever (`node.signer_guard`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from consensus.events import SafetyState
from consensus.types import Proposal, Statement, Timeout, Vote, signing_message
from genesis.signing import SigningKey
from node import signer_guard as guard

_KINDS: Final = {phase: kind for kind, phase in guard.VOTES.items()}


class Signing(Protocol):
    """Signs a validator's statements."""

    def use(self, public_key: bytes) -> None:
        """Sign with this one of our keys from now on: the one that the epoch's validator set names.

        The safety state is that of the epoch by then.
        """
        ...

    async def sign(self, statement: Statement, lock_view: int) -> bytes | None:
        """The signature over `statement`, 64 bytes; None when none can be had now.

        Args:
            statement: Permitted by a safety state that is durable.
            lock_view: The view of that state's `high_qc`: no later timeout reports a QC below it.

        Raises:
            ReplicaHalted: The signer refuses, because the key has signed what contradicts it.
        """
        ...


class LocalSigning:
    """The key is in this process."""

    def __init__(self, key: SigningKey, chain_id: bytes, later: Sequence[SigningKey] = ()) -> None:
        self._key = key
        self._keys = {each.public_key: each for each in (key, *later)}
        self._chain_id = chain_id

    def use(self, public_key: bytes) -> None:
        """As `Signing.use`."""
        self._key = self._keys[public_key]

    async def sign(self, statement: Statement, lock_view: int) -> bytes:
        """The signature; at once."""
        return self._key.sign(signing_message(self._chain_id, statement))


def fields_of(statement: Statement) -> guard.Statement:
    """What the signature over `statement` covers, field by field."""
    match statement:
        case Vote():
            kind = _KINDS[statement.phase]
            return guard.Statement(kind, statement.epoch, statement.view, statement.height, statement.block_hash)
        case Timeout():
            number = statement.high_qc.view
            return guard.Statement(guard.Kind.TIMEOUT, statement.epoch, statement.view, number, None)
        case Proposal():
            header = statement.header
            return guard.Statement(guard.Kind.PROPOSAL, header.epoch, statement.view, 0, header.block_hash)


def known_of(state: SafetyState | None) -> guard.Mark:
    """What the key has signed, as far as a safety state tells; nothing when there is none."""
    if state is None:
        return guard.Mark()
    given_up = fields_of(state.last_timeout) if state.last_timeout is not None else None
    return guard.bars(state.epoch, state.last_voted_view, state.last_proposed_view, state.high_qc.view, given_up)
