"""What an operation sees while it executes: the state, the block's place and time, who signed, and where events go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from contracts.receipts import Event
from contracts.state import State
from contracts.tables import Table
from genesis.codec import Value
from genesis.errors import Rejected


@dataclass(slots=True)
class Meter:
    """The gas that a block has spent on contracts, in all and by signer, refused envelopes included.

    `read` has the programs for whose reading it has paid.
    """

    gas: int = 0
    gas_of: dict[bytes, int] = field(default_factory=dict)
    read: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Step:
    """The execution of one envelope, or of a block's system step (which nobody signs).

    Attributes:
        state: Changed in place; the machine undoes the changes of an envelope that is refused.
        height, time_unix_ms: The block being applied.
        signers: The keys that signed the envelope.
        events: What happened, for the receipt.
        meter: Of the block.
    """

    state: State
    height: int
    time_unix_ms: int
    signers: tuple[bytes, ...] = ()
    events: list[Event] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)

    def emit(self, kind: str, **values: Value) -> None:
        """Append an event; the values keep the order in which they are given."""
        self.events.append((kind, tuple(values.items())))


R = TypeVar("R", bound=tuple[object, ...])


def known(table: Table[str, R], name: str, what: str) -> R:
    """The row of `name`, or ``unknown_<what>``."""
    row = table.rows.get(name)
    if row is None:
        raise Rejected(f"unknown_{what}", f"There is no {what} of this name.", **{what: name})
    return row


def require_new(table: Table[str, R], name: str, what: str, count_max: int) -> None:
    """Refuse a name that is taken (``already_exists``) or one more than the registry holds (``limit_reached``)."""
    if name in table.rows:
        raise Rejected("already_exists", f"The {what} of this name exists already.", **{what: name})
    if len(table.rows) >= count_max:
        raise Rejected("limit_reached", f"There is no room for another {what}.", count_max=count_max)


def require_role(step: Step, role: str) -> None:
    """Refuse unless a signer holds `role` from genesis (``not_authorised``)."""
    roles_of = step.state.roles_of
    for key in step.signers:
        if role in roles_of.get(key, ()):
            return
    raise Rejected("not_authorised", f"Only a key with the role {role} may do this.", role=role)


def require_owner(step: Step, account: str) -> None:
    """Refuse unless the member that owns `account` signed (``unknown_account``, ``missing_signature``)."""
    state = step.state
    row = state.accounts.rows.get(account)
    if row is None:
        raise Rejected("unknown_account", "There is no account of this name.", account=account)
    if state.members.rows[row.member].public_key not in step.signers:
        raise Rejected("missing_signature", "The account's member must sign.", account=account, member=row.member)


def require_sound(step: Step, kind: str, name: str, expiry_unix_ms: int = 0) -> None:
    """Refuse to touch a market in quarantine (``quarantined``)."""
    quarantine = step.state.quarantine.rows
    if quarantine and (kind, name, expiry_unix_ms) in quarantine:
        row = quarantine[kind, name, expiry_unix_ms]
        raise Rejected("quarantined", f"This {kind} is in quarantine: {row.reason}", name=name, since=row.since_height)
