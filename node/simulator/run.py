"""One run: faults until the wanted view, then the end of all faults, then progress or a verdict.

Rules:

1. Everything is drawn from one `random.Random(seed)`, in the order of events: a seed and the settings decide the run to
   the bit.
2. Faults end when an honest replica has reached the wanted view, or, where nothing moves, after `STORM_TIMEOUTS_EACH`
   view timeouts for each view.
3. *progress*: within `TIMEOUTS_TO_PROGRESS` full view timeouts of the end of all faults every honest replica that has
   not stopped itself has two new blocks, and has executed a batch that an honest replica was given at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, TextIO

from node.simulator.cast import draw_cast, draw_epochs, draw_params
from node.simulator.checks import Violation
from node.simulator.cluster import Cluster, make_signatures
from node.simulator.engines import check_engine
from node.simulator.faults import Faults
from node.simulator.replica import Replica
from node.simulator.schedule import JOINERS, SET_MIN, draw_schedule, fixed_schedule
from node.simulator.settings import SIMULATED, Fault, Settings

STORM_TIMEOUTS_EACH: Final = 6
TIMEOUTS_TO_PROGRESS: Final = 5
NEW_BLOCKS: Final = 2
LOAD_MS: Final = (4, 30)
TAIL_LINES: Final = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        settings: The run.
        violated: The oracle that was broken, None if all held.
        message: What was seen.
        heights: Durable blocks at each place.
        view: The highest view of an honest replica.
        events: Events that engines have handled.
        virtual_ms: How long the run took in its own time.
        healed_ms: From the end of all faults to progress; None if there was none.
        roles: Who was charged with what.
        counts: What was injected, and what came of it.
        digest: Of the transcript.
        tail: The last lines of the transcript, if an oracle was broken.
    """

    settings: Settings
    violated: str | None
    message: str
    heights: Mapping[str, int]
    view: int
    events: int
    virtual_ms: int
    healed_ms: int | None
    roles: Mapping[str, str]
    counts: Mapping[str, int]
    digest: str
    tail: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether every oracle held."""
        return self.violated is None


def simulate(settings: Settings, sink: TextIO | None = None) -> Outcome:
    """Run it.

    Args:
        settings: Everything that decides the run.
        sink: Where the whole transcript is written, a line an event; slower.

    Raises:
        Rejected: ``bad_settings``.
    """
    check_engine(settings.engine)
    chance = Random(settings.seed)
    cluster = draw_cluster(settings, chance, sink)
    broken: Violation | None = None
    healed_ms = None
    try:
        healed_ms = run(cluster)
    except Violation as violation:
        broken = violation
        cluster.note(None, f"VIOLATION of {violation}")
    return _outcome(cluster, broken, healed_ms)


def draw_cluster(settings: Settings, chance: Random, sink: TextIO | None = None) -> Cluster:
    """The network of a run: its limits, its epochs, who is charged with what."""
    if settings.faults:
        settings = replace(settings, params=draw_params(settings.params, chance))
    schedule = None
    if Fault.EPOCHS in settings.faults:
        settings = replace(settings, params=draw_epochs(settings.params, chance))
        if settings.params.epoch_blocks < SIMULATED.epoch_blocks and len(settings.powers) >= SET_MIN:
            keys = make_signatures(settings).public_key
            if settings.real_state:
                schedule = fixed_schedule(settings, keys, JOINERS)
            else:
                schedule = draw_schedule(settings, keys, chance)
    cast = draw_cast(settings, chance, schedule.powers if schedule is not None else ())
    return Cluster(settings, chance, cast, sink, schedule=schedule)


def run(cluster: Cluster) -> int:
    """Storm, end of all faults, progress; how long that last took, in ms. Raises `Violation`."""
    settings, heap, chance = cluster.settings, cluster.heap, cluster.chance
    faults = Faults(cluster)
    cluster.start()
    cluster.load(chance.randint(*LOAD_MS))
    if settings.faults:
        faults.start()
    storm_ms = settings.views * STORM_TIMEOUTS_EACH * settings.params.view_timeout_ms
    heap.run_until(lambda: cluster.view >= settings.views, storm_ms)
    faults.heal()
    return progress(cluster)


def progress(cluster: Cluster) -> int:
    """Rule 3; how long it took, in ms. Raises `Violation`."""
    heap, params = cluster.heap, cluster.params
    start_ms = heap.now_ms
    given: list[bytes] = []
    first = _awaited(cluster)
    _submit(cluster, first[int(cluster.chance.random() * len(first))], given)
    target = cluster.height + NEW_BLOCKS
    allowed_ms = TIMEOUTS_TO_PROGRESS * (params.view_timeout_ms_max + params.block_interval_idle_ms)

    def is_reached() -> bool:
        return all(each.disk.height >= target and _has_executed(each, given) for each in _awaited(cluster))

    if not heap.run_until(is_reached, start_ms + allowed_ms):
        awaited = _awaited(cluster)
        late = [each.name for each in awaited if each.disk.height < target]
        missing = [each.name for each in awaited if not _has_executed(each, given)]
        raise Violation(
            "progress",
            f"{allowed_ms} ms after the end of all faults {late} are below height {target} "
            f"and {missing} have not executed the batch submitted then",
        )
    return heap.now_ms - start_ms


def _awaited(cluster: Cluster) -> list[Replica]:
    """Who must get on: the honest members of the newest epoch."""
    terms = cluster.oracle.terms
    places = terms[max(terms)].places
    awaited = (each for each in cluster.honest if each.operator in places)
    return [each for each in awaited if each.halted is None and not each.is_restored]


def _submit(cluster: Cluster, replica: Replica, given: list[bytes]) -> None:
    """A client's batch; a client that is turned away comes again, and goes to another when the validator leaves."""
    awaited = _awaited(cluster)
    if replica not in awaited:
        replica = awaited[0]
        given.clear()
    if not given:
        name = cluster.submit(replica)
        if name is not None:
            given.append(name)
    cluster.heap.after(cluster.params.resend_interval_ms, _submit, cluster, replica, given)


def _has_executed(replica: Replica, given: list[bytes]) -> bool:
    return bool(given) and replica.payloads.has_executed(given[0])


def _outcome(cluster: Cluster, broken: Violation | None, healed_ms: int | None) -> Outcome:
    return Outcome(
        settings=cluster.settings,
        violated=broken.rule if broken is not None else None,
        message=str(broken) if broken is not None else "",
        heights=cluster.heights,
        view=cluster.view,
        events=cluster.handled,
        virtual_ms=cluster.heap.now_ms,
        healed_ms=healed_ms,
        roles={str(index): str(role) for index, role in cluster.cast.roles},
        counts=dict(sorted((cluster.oracle.counts + Counter(jailed=len(cluster.oracle.jailed))).items())),
        digest=cluster.transcript.digest,
        tail=tuple(cluster.transcript.tail(TAIL_LINES)) if broken is not None else (),
    )
