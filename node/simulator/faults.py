"""What befalls a run, and when: one episode after another, drawn from the run's chance, until it is healed.

Rules:

1. Only faults that the settings name occur. Each is counted when it takes effect.
2. Episodes overlap; each has its end, and healing ends all.
3. What `cast` charges a replica with befalls that replica alone. The rest befalls anybody.
4. After `heal` the network is calm, every process that has not stopped itself runs, disks are fast, and clocks are
   right but for those charged. Byzantine replicas stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from consensus.events import (
    Commit,
    EnsurePayload,
    EpochClosed,
    FetchBlocks,
    PersistSafety,
    RequestPayload,
    SignAndSend,
    StoreProposal,
)
from node.simulator.cluster import Cluster
from node.simulator.disk import Disk
from node.simulator.links import CALM, Quality
from node.simulator.replica import Replica
from node.simulator.settings import MEMORY, Fault

GAPS_MS: Final = ((10, 100), (40, 300), (150, 1_000))
"""Between two episodes; a run has one of these, so that some are stormy and some nearly calm."""

WEATHER_MS: Final = (50, 500)
SPANS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 9.0)
"""How long an episode lasts, in view timeouts."""

SKEW_MS: Final = (-120_000, 180_000)
DISK_LATENCIES_MS: Final = (2, 10, 40, 150)
STEPS_UNTIL_CRASH_MAX: Final = 12
HUNTS: Final = 0.33
HUNT_MS: Final = (3, 25)
EDGE_BLOCKS: Final = 3
STEPS_AROUND_EDGE_MAX: Final = 60
SWARM: Final = 0.5
"""The share of the kinds of episodes that one run draws from: what everything together would drown stands out alone."""

CRASH_POINTS: Final = (PersistSafety, SignAndSend, Commit, StoreProposal, RequestPayload, EnsurePayload, FetchBlocks)
"""Where half of all crashes are planned: at the next effect of one kind; the others come after a number of steps."""


class Faults:
    """Injects them into one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._world = cluster
        self._chance = cluster.chance
        self._enabled = cluster.settings.faults
        self._gap_ms = self._chance.choice(GAPS_MS)
        self._over = False
        self._cuts: dict[int, set[tuple[int, int]]] = {}
        self._number = 0
        self._backups: dict[int, Disk] = {}
        kinds: dict[Fault, Callable[[int], None]] = {
            Fault.PARTITION: self._partition,
            Fault.ONE_WAY: self._one_way,
            Fault.BRIDGE: self._bridge,
            Fault.FLAPPING: self._flapping,
            Fault.CLOCK_JUMP: self._clock_jump,
            Fault.PAUSE: self._pause,
            Fault.CRASH: self._crash,
            Fault.BLACKOUT: self._blackout,
            Fault.SLOW_DISK: self._slow_disk,
            Fault.DISK_ERROR: self._disk_error,
        }
        if Fault.EPOCHS in self._enabled and Fault.CRASH in self._enabled:
            kinds[Fault.EPOCHS] = self._crash_at_edge
        asked = [action for fault, action in kinds.items() if fault in self._enabled]
        drawn = [action for action in asked if self._chance.random() < SWARM]
        self._kinds = drawn or asked

    def start(self) -> None:
        """Begin."""
        for index, role in self._world.cast.roles:
            self._world.note(self._world.of_operator[index][0], f"is charged with {role}")
            if role == Fault.TWIN:
                self._world.oracle.count(Fault.TWIN)
            if role in MEMORY:
                self._after(self._between((50, 600)), self._memory, index, role)
            if role == Fault.SKEW:
                self._world.oracle.count(Fault.SKEW)
                for replica in self._world.of_operator[index]:
                    replica.skew_ms = self._between(SKEW_MS)
        self._weather()
        if self._kinds:
            self._after(self._between(self._gap_ms), self._episode)

    def heal(self) -> None:
        """End everything (rule 4)."""
        world = self._world
        world.note(None, "all faults end")
        self._over = True
        world.links.cut = set()
        world.links.quality = CALM
        for replica in world.replicas:
            self._calm_down(replica)
            replica.disk.latency_ms = 0
            if world.cast.role(replica.operator) != Fault.SKEW:
                replica.skew_ms = int(replica.name != str(replica.operator))
            replica.go_on()
            self._start(replica)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _between(self, span: tuple[int, int]) -> int:
        return span[0] + int(self._chance.random() * (span[1] - span[0] + 1))

    def _anyone(self) -> Replica:
        return self._world.replicas[int(self._chance.random() * len(self._world.replicas))]

    def _after(self, delay_ms: int, action: Callable[..., None], *args: object) -> None:
        self._world.heap.after(delay_ms, self._unless_over, action, args)

    def _unless_over(self, action: Callable[..., None], args: tuple[object, ...]) -> None:
        if not self._over:
            action(*args)

    def _episode(self) -> None:
        span_ms = int(self._chance.choice(SPANS) * self._world.params.view_timeout_ms)
        self._chance.choice(self._kinds)(max(1, span_ms))
        self._after(self._between(self._gap_ms), self._episode)

    # --- the network --------------------------------------------------------------------------------------------------

    def _weather(self) -> None:
        """Every link's quality, drawn anew from time to time."""
        chance = self._chance
        quality = Quality(delay_ms=chance.choice([(1, 2), (1, 5), (1, 15), (5, 30)]))
        for fault, change in (
            (Fault.LOSS, {"loss": chance.choice([0.01, 0.05, 0.3])}),
            (Fault.DUPLICATION, {"duplication": chance.choice([0.02, 0.3])}),
            (Fault.DELAY, {"spike": chance.choice([0.005, 0.05])}),
            (Fault.REORDER, {"ordered": False}),
        ):
            is_drawn = chance.random() < 0.4
            if fault in self._enabled and is_drawn:
                quality = replace(quality, **change)
        self._world.links.quality = quality
        self._after(self._between(WEATHER_MS), self._weather)

    def _cut(self, fault: Fault, pairs: set[tuple[int, int]], span_ms: int) -> None:
        """Cut these links for a while."""
        self._world.oracle.count(fault)
        self._world.note(None, f"{fault}: {len(pairs)} links cut for {span_ms} ms")
        self._number += 1
        self._cuts[self._number] = pairs
        self._apply_cuts()
        self._after(span_ms, self._mend, self._number)

    def _mend(self, number: int) -> None:
        del self._cuts[number]
        self._apply_cuts()

    def _apply_cuts(self) -> None:
        self._world.links.cut = set().union(*self._cuts.values())

    def _sides(self) -> list[bool]:
        """Two sides, neither empty where there are two replicas."""
        sides = [self._chance.random() < 0.5 for _ in self._world.replicas]
        sides[int(self._chance.random() * len(sides))] = not all(sides)
        return sides

    def _partition(self, span_ms: int) -> None:
        """Two sides; or, of three times once, whoever leads is alone, view after view."""
        if self._chance.random() < HUNTS:
            self._hunt(span_ms)
        else:
            self._cut(Fault.PARTITION, _between_sides(self._sides()), span_ms)

    def _hunt(self, left_ms: int) -> None:
        """Cut off the leader of some replica's view for a moment, then again."""
        core = self._anyone().core
        if core is not None:
            lone = [replica.index == core.leader for replica in self._world.replicas]
            self._cut(Fault.PARTITION, _between_sides(lone), self._between(HUNT_MS))
        beat_ms = self._between(HUNT_MS)
        if left_ms > beat_ms:
            self._after(beat_ms, self._hunt, left_ms - beat_ms)

    def _one_way(self, span_ms: int) -> None:
        sides = self._sides()
        self._cut(Fault.ONE_WAY, {pair for pair in _between_sides(sides) if sides[pair[0]]}, span_ms)

    def _bridge(self, span_ms: int) -> None:
        bridge = self._anyone().place
        self._cut(Fault.BRIDGE, {pair for pair in _between_sides(self._sides()) if bridge not in pair}, span_ms)

    def _flapping(self, span_ms: int) -> None:
        pairs = _between_sides(self._sides())
        beat_ms = self._between((5, 60))
        for start_ms in range(0, span_ms, 2 * beat_ms):
            self._after(start_ms, self._cut, Fault.FLAPPING, pairs, beat_ms)

    # --- processes and clocks -----------------------------------------------------------------------------------------

    def _start(self, replica: Replica) -> None:
        if not replica.is_up and replica.halted is None:
            self._world.note(replica, "starts")
            replica.start()

    def _calm_down(self, replica: Replica) -> None:
        """Nothing is planned for it any more."""
        replica.steps_left, replica.crash_at, replica.disk_fails = None, None, False

    def _pause(self, span_ms: int) -> None:
        replica = self._anyone()
        if replica.is_up:
            self._world.oracle.count(Fault.PAUSE)
            self._world.note(replica, f"is stopped for {span_ms} ms")
            replica.stop()
            self._after(span_ms, replica.go_on)

    def _crash(self, span_ms: int) -> None:
        replica = self._anyone()
        if replica.is_up and replica.steps_left is None:
            if self._chance.random() < 0.5:
                points = (*CRASH_POINTS, EpochClosed) if Fault.EPOCHS in self._enabled else CRASH_POINTS
                replica.crash_at = self._chance.choice(points)
            else:
                replica.steps_left = int(self._chance.random() * STEPS_UNTIL_CRASH_MAX)
            self._after(span_ms, self._recover, replica, Fault.CRASH)

    def _crash_at_edge(self, span_ms: int) -> None:
        """Whoever is about to end its epoch crashes at one of the next effects: before the end is durable, after it,
        before the next epoch's state is, or at its first words there."""
        blocks = self._world.params.epoch_blocks
        near = [each for each in self._world.replicas if each.is_up and (each.disk.height + 2) % blocks < EDGE_BLOCKS]
        if not near:
            return
        replica = self._chance.choice(near)
        if replica.steps_left is None:
            replica.steps_left = int(self._chance.random() * STEPS_AROUND_EDGE_MAX)
            self._after(span_ms, self._recover, replica, Fault.CRASH)

    def _recover(self, replica: Replica, fault: Fault) -> None:
        """The end of a crash, if it came at all."""
        self._calm_down(replica)
        if not replica.is_up and replica.halted is None:
            self._world.oracle.count(fault if fault == Fault.CRASH else "disks repaired")
        self._start(replica)

    def _blackout(self, span_ms: int) -> None:
        """Everyone; not too often, or nothing else would be seen."""
        if self._chance.random() < 0.5:
            return
        self._world.oracle.count(Fault.BLACKOUT)
        for replica in self._world.replicas:
            replica.crash()
            self._after(1 + int(self._chance.random() * span_ms), self._start, replica)

    def _clock_jump(self, span_ms: int) -> None:
        """A clock jumps, forwards or back: of a charged replica far, of another within half of what voters tolerate."""
        replica = self._anyone()
        self._world.oracle.count(Fault.CLOCK_JUMP)
        reach_ms = self._world.params.block_time_ahead_ms_max // 2 - 20
        is_charged = self._world.cast.role(replica.operator) == Fault.SKEW
        replica.skew_ms = self._between(SKEW_MS if is_charged else (-reach_ms, reach_ms))
        self._world.note(replica, f"has a clock that is off by {replica.skew_ms} ms")

    # --- disks and memories -------------------------------------------------------------------------------------------

    def _slow_disk(self, span_ms: int) -> None:
        """One, or all of them."""
        latency_ms = self._chance.choice(DISK_LATENCIES_MS)
        chosen = self._world.replicas if self._chance.random() < 0.2 else [self._anyone()]
        self._world.oracle.count(Fault.SLOW_DISK)
        for replica in chosen:
            self._world.note(replica, f"has a disk that takes {latency_ms} ms")
            replica.disk.latency_ms = latency_ms
            self._after(span_ms, self._quicken, replica)

    def _quicken(self, replica: Replica) -> None:
        replica.disk.latency_ms = 0

    def _disk_error(self, span_ms: int) -> None:
        replica = self._anyone()
        if replica.is_up:
            replica.disk_fails = True
            self._after(span_ms, self._recover, replica, Fault.DISK_ERROR)

    def _memory(self, index: int, role: Fault) -> None:
        """A charged replica loses what it promised to keep, or finds an old copy of it in its place."""
        for replica in self._world.of_operator[index]:
            if role == Fault.BACKUP and index not in self._backups:
                self._backups[index] = replica.disk.backup()
                self._after(self._between((50, 800)), self._memory, index, role)
                continue
            self._world.oracle.count(role)
            replica.crash()
            self._world.note(replica, f"suffers {role}")
            self._damage(replica, role)
            self._after(self._between((1, 200)), self._start, replica)

    def _damage(self, replica: Replica, role: Fault) -> None:
        if role == Fault.BACKUP:
            replica.disk.restore(self._backups[replica.operator], safety_only=self._chance.random() < 0.5)
            replica.is_restored = replica.has_forgotten = True
        elif role == Fault.WIPE:
            keeps_safety = Fault.EPOCHS in self._enabled and self._chance.random() < 0.3
            replica.disk.wipe(keeps_safety=keeps_safety)
            replica.has_forgotten |= not keeps_safety
        else:
            replica.disk.forget()
            replica.has_forgotten = True


def _between_sides(sides: list[bool]) -> set[tuple[int, int]]:
    """Every link from one side to the other, both ways."""
    places = range(len(sides))
    return {(one, other) for one in places for other in places if sides[one] != sides[other]}
