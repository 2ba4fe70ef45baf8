"""The wiring of a node, on one page: which parts there are, who calls whom, and which tasks run.

    clients ── HTTP ──▶ Face ──▶ Intake ──▶ BatchMaker ──▶ BatchPool ◀──▶ Mesh ◀── TLS ──▶ peers
                          │                                   │            │
                          │                              PayloadWaiting    │ consensus, blocks
                          ▼                                   ▼            ▼
                     ReceiptWaits ◀── Executor ◀── Commit ── Replica (the consensus core) ── BlockFetcher
                                         │                    │
                                       Store ◀──────────── Durable ──▶ SafetyFile

Each arrow is a plain call in the Trio thread. What blocks (disk, signatures, execution) is done by the task that owns
it: in place while it is short, else in a worker thread (`node.offload`). `run_node` builds the parts bottom up, closes
the two circles (waiting batches and executed blocks go back to the replica), and runs one task for each part until it
is cancelled.
"""

from __future__ import annotations

import gc
import logging
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from consensus.events import AskedAhead, Executed, PayloadWaiting, Report
from consensus.types import Header
from contracts.kernels import kernel_hash
from contracts.kernels import self_test as kernels_self_test
from contracts.machine import State, admit
from genesis.addresses import split_address
from genesis.document import GenesisValidator
from genesis.errors import Rejected, violated
from genesis.signing import SigningKey
from node.batch_maker import BatchMaker
from node.batch_pool import BatchPool
from node.batches import BatchFormat
from node.blocksync import BlockFetcher, BlockServer
from node.certificates import certificate_public_key
from node.clock import Clock
from node.conduct import Conduct, ConductLimits
from node.config import NodeConfig
from node.durable import Durable
from node.epochs import Epochs
from node.evidence import EvidenceDesk, EvidenceFiles, EvidencePorts
from node.executor import Executor, open_state
from node.face import Face
from node.frames import payload_bounds
from node.home import OpenedHome, index_of
from node.http_api import make_app
from node.http_server import serve
from node.intake import BEHIND_HEIGHTS_MAX, Intake
from node.keystore import KeyStore
from node.named_peers import named_peers, with_named
from node.peers import Mesh, MeshConfig, MeshLimits, PeerAddress
from node.proofs import ProofDesk
from node.pruner import Pruner
from node.quorum_watch import QuorumWatch
from node.receipt_waits import ReceiptWaits
from node.replica import Ports, Replica
from node.retirement import Retirement
from node.router import Router
from node.safety_file import SafetyFile
from node.signatures import self_test as signatures_self_test
from node.signer_client import RemoteSigning
from node.signing import LocalSigning, known_of
from node.snapshot_files import SnapshotFiles
from node.snapshot_join import SnapshotJoin
from node.snapshots import SnapshotMaker, SnapshotServer
from node.store import Store
from node.tls import TlsIdentity
from node.trust import Trust, TrustedBlock
from node.unused_key import mark_used

_log = logging.getLogger("novate.node")

SWITCH_INTERVAL_S: Final = 0.001
"""How long a worker thread may keep the interpreter from the event loop; Python's five are half a view."""

GC_THRESHOLDS: Final = (20_000, 20, 50)
"""Python looks for cycles after every 700 new objects: dozens of times in a block, and 5 % of a busy validator's time.
Hardly anything here is in a cycle, so a visit finds little whether it is made early or late."""

ALARMS = frozenset(
    {
        "amnesia",
        "bad_certificate",
        "bad_piece",
        "behind_the_window",
        "conservation_alarm",
        "equivocation",
        "evidence_found",
        "invalid_payload",
        "observes",
        "other_validators",
        "quorum_lost",
        "retired",
        "signer_lacks_key",
        "signer_unreachable",
    }
)
"""Reports that are logged as warnings."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What a node has for one validator set: the links to its members, their batches, its part in the agreement."""

    mesh: Mesh
    pool: BatchPool
    maker: BatchMaker
    fetcher: BlockFetcher
    evidence: EvidenceDesk
    replica: Replica
    retirement: Retirement

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled, or until an epoch begins that has other validators; started once we listen."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.mesh.run)
            for run in (self.pool.run, self.maker.run, self.fetcher.run, self.evidence.run):
                nursery.start_soon(run)
            task_status.started()
            await self.replica.run()
            nursery.cancel_scope.cancel()


@dataclass(frozen=True, slots=True)
class Ground:
    """What a seat stands on, and what outlives it."""

    opened: OpenedHome
    store: Store
    safety: SafetyFile
    state: State
    epochs: Epochs
    clock: Clock
    files: SnapshotFiles
    intake: Intake
    executor: Executor
    signing: LocalSigning | RemoteSigning


@dataclass(slots=True)
class Node:
    """The parts of one running node; all but the seat outlive a change of the validators."""

    ground: Ground
    snapshots: SnapshotMaker
    pruner: Pruner
    face: Face
    seat: Seat

    @property
    def replica(self) -> Replica:
        """The part in the agreement."""
        return self.seat.replica

    async def run_seats(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part under one validator set after the other until cancelled; started once the first seat listens."""
        await self.seat.run(task_status=task_status)
        while True:
            self._change_seat()
            await self.seat.run()

    def _change_seat(self) -> None:
        """Build anew what depends on the validators; what waits in our own batches goes into new ones."""
        ground, waiting = self.ground, (*self.seat.pool.own_envelopes(), *self.seat.maker.take_all())
        data = _data_plane(ground.opened, ground.epochs, ground.store, ground.state)
        data.maker.add(waiting)
        ground.intake.attach(data.maker)
        ground.executor.attach(data.pool)
        self.seat = _seat(ground, data)


async def run_node(opened: OpenedHome) -> None:
    """Run the validator of this home until cancelled.

    Raises:
        StorageFailure: The disk cannot be trusted.
        ReplicaHalted: A quorum certified what contradicts our state, or what our key signed and we do not remember.
        InvariantViolation: Our own code is wrong.
        Rejected: The home and its ledger do not belong together.
    """
    kernels_self_test()
    signatures_self_test()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    config, document = opened.config, opened.document
    await join_if_empty(opened)
    store = await trio.to_thread.run_sync(Store.open, config.ledger_path, document.chain_id)
    safety = SafetyFile(config.safety_path, document.chain_id)
    try:
        state, genesis = await trio.to_thread.run_sync(open_state, document, store)
        node = build_node(opened, store, safety, state, genesis)
        await trio.to_thread.run_sync(mark_used, KeyStore(config.home))
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run_seats)
            for run in (node.ground.intake.run, node.ground.executor.run, node.snapshots.run, node.pruner.run):
                nursery.start_soon(run)
            if isinstance(node.ground.signing, RemoteSigning):
                nursery.start_soon(node.ground.signing.run)
            address = await nursery.start(partial(serve, make_app(node.face), config.http_host, config.http_port))
            _log.info("started", extra={"validator": config.name, "height": state.height, "http": address})
    finally:
        safety.close()
        store.close()


async def join_if_empty(opened: OpenedHome) -> None:
    """Give a home that has no ledger and names a trusted block the ledger of a snapshot, if a peer has one."""
    config, document = opened.config, opened.document
    has_ledger = config.ledger_path.is_dir() and any(config.ledger_path.iterdir())
    if not config.trust_hash or has_ledger:
        return
    trust = Trust(document, TrustedBlock(config.trust_height, bytes.fromhex(config.trust_hash)))
    index = index_of(document, config.name, opened.public_key)
    named = [each for each in named_peers(config) if each.certificate != opened.certificate]
    members = with_named(document.validators, named)
    counted = named or document.validators
    powers = {place: each.power for place, each in enumerate(members) if each in counted}
    join = SnapshotJoin(index, trust, powers, config.ledger_path, report)
    mesh = Mesh(
        _mesh_config(opened, members, index),
        join,
        jitter=random.SystemRandom().random,
        on_change=join.changed,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(mesh.run)
        if not await join.run(mesh):
            report("joining_by_blocks", {"trusted_height": config.trust_height})
        nursery.cancel_scope.cancel()


def build_node(opened: OpenedHome, store: Store, safety: SafetyFile, state: State, genesis: Header) -> Node:
    """Build every part and connect them; nothing runs yet."""
    document, config = opened.document, opened.config
    limits, clock = document.limits, Clock(document.clock)
    epochs = Epochs(document, opened.is_ours, opened.certificate, store, safety, state, genesis, clock.now, report)
    data = _data_plane(opened, epochs, store, state)
    intake = Intake(document.chain_id, limits, partial(admit, state), data.maker, config.mempool_bytes_max)
    receipts = ReceiptWaits(store)

    def executed(height: int, block_hash: bytes, root: bytes) -> None:
        node.seat.replica.post(Executed(height, block_hash, root))

    def durable() -> None:
        for part in (snapshots, proofs, pruner):
            part.progressed()

    def is_behind() -> bool:
        tip = store.tip()
        return tip is not None and node.replica.core.high_qc.height - tip.height > BEHIND_HEIGHTS_MAX

    signing = _signing(opened, safety, lambda: node.replica.sign_again())
    files = SnapshotFiles(config.snapshots_path, config.snapshots_kept)
    snapshots = SnapshotMaker(store, files, config.snapshot_interval, limits.merkle_depth, report, is_behind)
    pruner = Pruner(store, files, config.keep_blocks, limits.envelope_lifetime_ms_max, report)
    executor = Executor(state, store, data.pool, receipts, intake, executed, report, durable, snapshots.is_due)
    proofs = ProofDesk(document, store, executor.read)
    face = Face(
        document,
        config.name,
        clock,
        epochs,
        lambda: node.seat.replica.core,
        lambda: node.seat.mesh,
        store,
        executor,
        intake,
        receipts,
        proofs,
        lambda: node.seat.evidence,
        lambda: node.seat.retirement.notice,
        signing if isinstance(signing, RemoteSigning) else None,
    )
    ground = Ground(opened, store, safety, state, epochs, clock, files, intake, executor, signing)
    node = Node(ground, snapshots, pruner, face, _seat(ground, data))
    return node


@dataclass(frozen=True, slots=True)
class _DataPlane:
    """The links to the members of a validator set, and their batches."""

    router: Router
    mesh: Mesh
    pool: BatchPool
    maker: BatchMaker
    retirement: Retirement


def _data_plane(opened: OpenedHome, epochs: Epochs, store: Store, state: State) -> _DataPlane:
    document, index, validators = opened.document, epochs.index, epochs.validators
    router, limits = Router(), document.limits
    retirement = Retirement(document, store, state, opened.certificate, report)
    watch = QuorumWatch(index, validators, report)
    config = _mesh_config(opened, epochs.members, index)

    def changed(peers: frozenset[int]) -> None:
        watch.connected(peers)
        if peers:
            retirement.let_in()

    mesh = Mesh(config, router, jitter=random.SystemRandom().random, on_change=changed, farewell=retirement)
    batch_format = BatchFormat(document.chain_id, limits, limits.validators_max)
    pool = BatchPool(index, validators, batch_format, mesh, store, lambda: router.post(PayloadWaiting()), report)
    maker = BatchMaker(index, batch_format, pool, time.time_ns() // 1_000_000)
    return _DataPlane(router, mesh, pool, maker, retirement)


def _seat(ground: Ground, data: _DataPlane) -> Seat:
    opened, epochs, executor, clock = ground.opened, ground.epochs, ground.executor, ground.clock
    index, mesh, pool, store = epochs.index, data.mesh, data.pool, ground.store
    chain_id, limits = opened.document.chain_id, opened.document.limits
    fetcher = BlockFetcher(mesh, limits, data.router.post, report)
    others = frozenset(range(len(epochs.members))) - {index}
    conduct = Conduct(mesh.cut, others, trio.current_time, _conduct_limits(opened.config))
    report_core = partial(_report_core, conduct)
    core = epochs.core()
    if epochs.public_key is not None:
        ground.signing.use(epochs.public_key)
    kept, key = EvidenceFiles(opened.config.evidence_path), _key_of(opened, epochs.public_key)
    desk_ports = EvidencePorts(mesh, executor, ground.intake, kept, store.writes, key, clock.now, report)
    desk = EvidenceDesk(chain_id, limits, index, len(epochs.members), desk_ports)
    disk = Durable(store, ground.safety, pool)
    ports = Ports(mesh, ground.signing, pool, disk, executor, fetcher, epochs, clock.now, report_core, desk.accuse)
    replica = Replica(core, index, ports, limits.block_batches_max)
    server = BlockServer(store, limits, mesh, lambda: replica.core.high_qc, lambda peer: replica.post(AskedAhead(peer)))
    snapshots = SnapshotServer(ground.files, store, limits.epoch_blocks, mesh)
    data.router.connect(replica, pool, fetcher, server, snapshots, desk)
    return Seat(mesh, pool, data.maker, fetcher, desk, replica, data.retirement)


def report(kind: str, details: dict[str, int | str]) -> None:
    """One structured line for what an operator should know of; a warning where somebody should look."""
    _log.log(logging.WARNING if kind in ALARMS else logging.INFO, kind, extra=details)


def _report_core(conduct: Conduct, event: Report) -> None:
    conduct.hear(event)
    if event.kind != "contradiction":  # said once already, as an equivocation; what follows is only counted
        report(event.kind, dict(event.details))


def _signing(opened: OpenedHome, safety: SafetyFile, on_back: Callable[[], None]) -> LocalSigning | RemoteSigning:
    """The key of this home, or the signer that has it."""
    chain_id, key, path = opened.document.chain_id, opened.keys.consensus, opened.config.signer
    if path is not None:
        return RemoteSigning(path, chain_id, opened.public_key, lambda: known_of(safety.saved), on_back, report)
    if key is None:
        violated("a home without a signer has its key")
    return LocalSigning(key, chain_id, opened.keys.later)


def _key_of(opened: OpenedHome, public_key: bytes | None) -> SigningKey | None:
    keys = (opened.keys.consensus, *opened.keys.later)
    return next((each for each in keys if each is not None and each.public_key == public_key), None)


def _conduct_limits(config: NodeConfig) -> ConductLimits:
    return ConductLimits(faults_max=config.faults_max, span_s=config.fault_span_s)


def _mesh_config(opened: OpenedHome, members: Sequence[GenesisValidator], index: int) -> MeshConfig:
    document, config = opened.document, opened.config
    peers = tuple(
        PeerAddress(place, each.name, *split_address(each.address), each.certificate)
        for place, each in enumerate(members)
        if place != index and _can_be_reached(each)
    )
    return MeshConfig(
        index=index,
        chain_id=document.chain_id,
        kernel_hash=kernel_hash(),
        listen_host=config.listen_host,
        listen_port=config.listen_port,
        identity=TlsIdentity(opened.certificate, opened.keys.network_seed),
        peers=peers,
        payload_bytes_max=payload_bounds(document.limits),
        limits=MeshLimits(penalty_ms_max=config.ban_s_max * 1_000),
    )


def _can_be_reached(validator: GenesisValidator) -> bool:
    """Two thirds approve the bytes of a certificate, and nobody checks them: bytes that are none lead to nobody."""
    try:
        certificate_public_key(validator.certificate)
    except Rejected as why:
        report("bad_certificate", {"validator": validator.name, "why": str(why)})
        return False
    return True
