"""How approved changes make the next validator set out of the present one: pure functions over the set.

Rules:

1. Validators keep their order; who joins comes last. Names, keys and certificates of a set are distinct. A key or name
   of the present set is not given to somebody who joins in the same step: a name means one operator in both.
2. A set is never empty and has at most `validators_max` members.
3. *Continuity.* What goes on unchanged across an edge is, for each validator with the same key on both sides, the
   smaller of its two powers. That must be a quorum of the old power and a quorum of the new. So those who ran the old
   epoch can carry the first blocks of the new one without any newcomer, a wrong key or address among the newcomers
   stops nothing, and who trusts the old set has a quorum's worth of reason to trust the new one. Larger changes take
   several edges. A set of fewer than `SMALL_SET` validators tolerates no fault in any case and is free to change.
4. Jailed validators are taken out first, whatever the others say, and continuity counts from those who remain; but if
   nobody would remain, nobody is taken out, since a set without power could not even decide to end: they decide
   nothing of governance until their jailings are old (`contracts.offences`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from contracts.operations_governance import (
    AddValidator,
    Change,
    MoveValidator,
    ReweightValidator,
    RotateValidatorKey,
)
from genesis.document import GenesisValidator
from genesis.errors import Rejected

Members = tuple[GenesisValidator, ...]

SMALL_SET: Final = 4
"""From this many validators on, one may fail."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next edge makes of the changes.

    Attributes:
        members: The next set.
        dropped: The changes that do not fit any more, by their place in the list that was given, and why.
    """

    members: Members
    dropped: tuple[tuple[int, Rejected], ...]


def total_power(members: Iterable[GenesisValidator]) -> int:
    """The power of these validators together."""
    return sum(each.power for each in members)


def quorum_power(members: Sequence[GenesisValidator]) -> int:
    """More than two thirds of the power: rule C3 of docs/PROTOCOL.md."""
    return total_power(members) * 2 // 3 + 1


def plan(present: Members, jailed: Mapping[str, Any], changes: Sequence[Change], validators_max: int) -> Plan:
    """The next set: without the jailed, then each change that fits, in order."""
    members = remaining = without_jailed(present, jailed)
    dropped: list[tuple[int, Rejected]] = []
    for place, change in enumerate(changes):
        try:
            members = changed(present, remaining, members, change, validators_max)
        except Rejected as error:
            dropped.append((place, error))
    return Plan(members, tuple(dropped))


def without_jailed(present: Members, jailed: Mapping[str, Any]) -> Members:
    """Rule 4."""
    return tuple(each for each in present if each.name not in jailed) or present


def changed(present: Members, remaining: Members, members: Members, change: Change, validators_max: int) -> Members:
    """`members`, one change further.

    Args:
        present: The set in force.
        remaining: Those of it who are not jailed.
        members: What the changes approved before make of them.
        change: What is to be done next.
        validators_max: Rule 2.

    Raises:
        Rejected: ``unknown_validator``, ``already_exists``, ``key_taken``, ``certificate_taken``, ``no_change``,
            ``empty_set``, ``limit_reached``, ``too_much_change``.
    """
    after = _added(present, members, change) if isinstance(change, AddValidator) else _edited(present, members, change)
    if not after:
        raise Rejected("empty_set", "No validator would remain.", validator=change.validator)
    if len(after) > validators_max:
        raise Rejected("limit_reached", "There is no room for another validator.", count_max=validators_max)
    _require_continuity(remaining, after)
    return after


def _added(present: Members, members: Members, change: AddValidator) -> Members:
    both = (*present, *members)
    if any(each.name == change.validator for each in both):
        raise Rejected("already_exists", "The validator of this name exists already.", validator=change.validator)
    _require_free_key(both, change.public_key)
    _require_free_certificate(both, change.certificate)
    joined = GenesisValidator(change.validator, change.public_key, change.power, change.address, change.certificate)
    return (*members, joined)


def _edited(present: Members, members: Members, change: Change) -> Members:
    for place, each in enumerate(members):
        if each.name == change.validator:
            after = _edit(present, members, each, change)
            if after == each:
                raise Rejected("no_change", "The validator is so already.", validator=each.name)
            return (*members[:place], *([] if after is None else [after]), *members[place + 1 :])
    raise Rejected("unknown_validator", "No validator of this name would be there.", validator=change.validator)


def _edit(present: Members, members: Members, one: GenesisValidator, change: Change) -> GenesisValidator | None:
    if isinstance(change, ReweightValidator):
        return replace(one, power=change.power)
    if isinstance(change, RotateValidatorKey):
        others = [each for each in (*present, *members) if each.name != one.name]
        _require_free_key(others, change.public_key)
        return replace(one, public_key=change.public_key)
    if isinstance(change, MoveValidator):
        others = [each for each in (*present, *members) if each.name != one.name]
        _require_free_certificate(others, change.certificate)
        return replace(one, address=change.address, certificate=change.certificate)
    return None  # validator.remove


def _require_free_key(others: Iterable[GenesisValidator], public_key: bytes) -> None:
    for each in others:
        if each.public_key == public_key:
            raise Rejected("key_taken", "Another validator signs with this key.", validator=each.name)


def _require_free_certificate(others: Iterable[GenesisValidator], certificate: bytes) -> None:
    for each in others:
        if each.certificate == certificate:
            raise Rejected("certificate_taken", "Another validator has this certificate.", validator=each.name)


def _require_continuity(remaining: Members, after: Members) -> None:
    """Rule 3."""
    if len(remaining) < SMALL_SET:
        return
    powers = {each.public_key: each.power for each in remaining}
    carried = sum(min(each.power, powers.get(each.public_key, 0)) for each in after)
    needed = max(quorum_power(remaining), quorum_power(after))
    if carried < needed:
        raise Rejected(
            "too_much_change",
            "Too little power would go on unchanged; make the change in several steps, one an epoch.",
            unchanged_power=carried,
            needed_power=needed,
        )
