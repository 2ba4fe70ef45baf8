"""A simulated replica's part in one epoch, as `node.epochs` arranges it in a node: the set, its seat, what it rests on.

Rules:

1. `node.seats` decides which epoch it is and what the replica may sign in it, for both shells.
2. An operator has all its keys. Who is not in the set observes, and is heard by nobody whose epoch it is: members
   connect with members (docs/PROTOCOL.md F1).
3. The set is what the replica's own state says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consensus.config import CoreConfig
from consensus.types import OBSERVER, Header, ReplicaIndex
from consensus.validators import ValidatorSet, validator_set
from contracts.changes import Members
from genesis.errors import InvariantViolation
from node.seats import Seat, epoch_of_ledger, take_seat
from node.simulator.disk import Disk
from node.simulator.schedule import operator_of

if TYPE_CHECKING:
    from node.simulator.replica import Replica


@dataclass(frozen=True, slots=True)
class Term:
    """One epoch, for one replica.

    Attributes:
        epoch: Which one.
        members: Its validators, in order of index.
        base: The block that it stands on, with the root after it.
        place: Where our operator is among the members, or `OBSERVER`.
        seat: With what the replica takes part.
        operators: Who is at each index.
        places: The index of each operator.
        peers: Every other operator of the set.
    """

    epoch: int
    members: Members
    validators: ValidatorSet
    base: Header
    base_root: bytes | None
    place: ReplicaIndex
    seat: Seat
    operators: tuple[int, ...]
    places: Mapping[int, ReplicaIndex]
    peers: tuple[int, ...]


def term_of(replica: Replica) -> Term:
    """The epoch that the replica's disk has come to (rule 1)."""
    world, disk = replica.world, replica.disk
    blocks = world.params.epoch_blocks
    epoch = epoch_of_ledger(disk.height, blocks, disk.closings.__contains__)
    base, root = _base(replica, disk, epoch)
    members = replica.executor.machine.members(epoch)
    operators = tuple(operator_of(each) for each in members)
    places = {operator: index for index, operator in enumerate(operators)}
    place = places.get(replica.operator, OBSERVER)
    seat = take_seat(disk.saved, base, epoch, place)
    peers = tuple(each for each in operators if each != replica.operator)
    return Term(epoch, members, validator_set(epoch, members), base, root, place, seat, operators, places, peers)


def core_config(replica: Replica, term: Term) -> CoreConfig:
    """What the engine of the term is told."""
    world = replica.world
    return CoreConfig(
        world.chain_id,
        term.seat.index,
        term.validators,
        world.params,
        term.base,
        world.signatures.is_valid,
        world.leaders,
        term.base_root,
    )


def _base(replica: Replica, disk: Disk, epoch: int) -> tuple[Header, bytes | None]:
    if epoch == 0:
        return replica.world.ledger.genesis, None
    edge = disk.committed[epoch * replica.world.params.epoch_blocks - 1]
    closing = disk.closings.get(epoch - 1)
    if closing is None or closing.state_root != edge.state_root:
        raise InvariantViolation("the epoch before is closed, with the root of its edge", epoch=epoch)
    return replica.world.codec.proposal(edge.proposal).header, edge.state_root
