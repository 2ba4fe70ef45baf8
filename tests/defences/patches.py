"""What stands in the place of a defence that is taken out, where it is more than nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgpack
import plyvel
import pytest
import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.exceptions import BadSignatureError

from consensus.collectors import VoteCollector
from consensus.events import Now
from consensus.pacemaker import Pacemaker
from consensus.repeating import Repeating
from consensus.syncing import Syncing
from consensus.types import Statement, signing_message
from contracts.merkle import MerkleTree
from contracts.vm.bytecode import Instruction, Op, Type
from contracts.vm.intervals import Interval
from contracts.vm.verifier import _Walk
from genesis.codec import Shape, decode
from genesis.errors import Rejected, invariant
from genesis.params import ChainParams
from node import signer_file
from node.batch_fetcher import BatchFetcher
from node.batch_offers import BatchOffers
from node.batch_verifier import Arrival, BatchVerifier
from node.clock import Clock
from node.database import Database
from node.executor import Executor
from node.offload import Offload
from node.signer_file import SignerFile
from node.signer_guard import Mark
from node.slot_file import SlotFile
from tests.mutants.model import Patch
from tests.mutants.patches import swap, together


def nothing(*targets: str) -> Patch:
    """These do nothing and return None: a check that passes, an action that is left out."""
    return swap(*targets, by=lambda *_args, **_more: None)


def constant(value: object, *targets: str) -> Patch:
    """These return `value`, whatever they are asked."""
    return swap(*targets, by=lambda *_args, **_more: value)


def reading(get: Callable[[Any], object], target: str) -> Patch:
    """This property is read by `get`."""
    return swap(target, by=property(get))


class Alike(bytes):
    """Bytes that equal whatever they are compared with: a comparison that finds nothing."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


# --- agreement --------------------------------------------------------------------------------------------------------


def _span_without_cap(self: Pacemaker, certified_view: int, idle: bool) -> int:
    params: ChainParams = self._params
    span = params.view_timeout_ms
    for _ in range(certified_view + 1, min(self.view, certified_view + 100)):
        span = span * params.view_timeout_growth_ppm // 1_000_000
    return span + (params.block_interval_idle_ms if idle else 0)


UNCAPPED: Final = swap("consensus.pacemaker.Pacemaker.span_ms", by=_span_without_cap)


def _span_of_all_views(self: Pacemaker, _certified_view: int, idle: bool) -> int:
    return REAL_SPAN(self, 0, idle)


REAL_SPAN: Final = Pacemaker.span_ms
NEVER_BACK: Final = swap("consensus.pacemaker.Pacemaker.span_ms", by=_span_of_all_views)


def _of_any_chain(_chain_id: bytes, statement: Statement) -> bytes:
    return signing_message(bytes(32), statement)


ANY_CHAIN: Final = swap("consensus.types.signing_message", "consensus.certificates.signing_message", by=_of_any_chain)


def _silent_beat(self: Repeating, now_ms: int) -> None:
    if now_ms >= self._beat_ms:
        self._beat_ms = now_ms + self._interval_ms


SAID_ONCE: Final = swap("consensus.repeating.Repeating.repeat_if_due", by=_silent_beat)


def _keep_all(_self: VoteCollector, _certified_view: int, _view: int) -> None:
    """Nothing is forgotten."""


NO_WINDOW: Final = together(
    swap("consensus.collectors.VoteCollector.wants", by=staticmethod(lambda *_: True)),
    swap("consensus.collectors.VoteCollector.forget", by=_keep_all),
)


# --- encoding ---------------------------------------------------------------------------------------------------------


def _any_form(data: bytes, shape: Shape, *, size_max: int) -> Any:
    """`decode` without its last look: whether these are the bytes that the value would be encoded as."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("genesis.codec.encode", lambda _value: data)
        return REAL_DECODE(data, shape, size_max=size_max)


def _any_failure(data: bytes, shape: Shape, *, size_max: int) -> Any:
    """`decode` that lets the parser's own errors through."""
    invariant(len(data) <= size_max, "the parser is shown no more than it may read")
    value = msgpack.unpackb(data, use_list=False)
    shape(value)
    return value


REAL_DECODE: Final = decode
ANY_FORM: Final = swap("genesis.codec.decode", by=_any_form)
UNTRANSLATED: Final = swap("consensus.wire.decode", by=_any_failure)


def _first_path_alone(self: MerkleTree, dirty: list[int]) -> None:
    REAL_REHASH(self, dirty[:1])


REAL_REHASH: Final = MerkleTree._rehash
FORGOTTEN_PATHS: Final = swap("contracts.merkle.MerkleTree._rehash", by=_first_path_alone)


# --- signing ----------------------------------------------------------------------------------------------------------


def _whatever_mark(self: SignerFile) -> Mark | None:
    payload = self._file.load()
    return None if payload is None else signer_file._decode(payload)[1]


WHATEVER_MARK: Final = swap("node.signer_file.SignerFile._load", by=_whatever_mark)


# --- disk -------------------------------------------------------------------------------------------------------------


def _unsynced(self: SlotFile, file: int, number: int, payload: bytes) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("os.fdatasync", lambda _file: None)
        REAL_WRITE(self, file, number, payload)


REAL_WRITE: Final = SlotFile._write
UNSYNCED: Final = swap("node.slot_file.SlotFile._write", by=_unsynced)


@contextmanager
def _unguarded(_self: Database, _doing: str) -> Iterator[None]:
    yield


UNGUARDED: Final = swap("node.database.Database._guarded", by=_unguarded)


class _Trusting:
    """LevelDB opened and read without its checksums."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._db = REAL_DB(*args, **{**more, "paranoid_checks": False})

    def get(self, key: bytes, **_checks: bool) -> bytes | None:
        return self._db.get(key)  # type: ignore[no-any-return]

    def iterator(self, **more: Any) -> Any:
        return self._db.iterator(**{**more, "verify_checksums": False})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


REAL_DB: Final = plyvel.DB
NO_CHECKSUMS: Final = swap("plyvel.DB", by=_Trusting)


async def _never_judged(_self: Offload, _cost_us: int, work: Callable[..., Any], *args: Any) -> Any:
    result = work(*args)
    await trio.lowlevel.checkpoint()
    return result


ALWAYS_IN_PLACE: Final = swap("node.offload.Offload.run", by=_never_judged)


def _wall_for_both(self: Clock) -> Now:
    self.monotonic_ns()
    wall_ms = self.wall_ns() // 1_000_000
    return Now(wall_ms, self.chain.chain_unix_ms(wall_ms))


ONE_CLOCK: Final = swap("node.clock.Clock.now", by=_wall_for_both)


# --- batches ----------------------------------------------------------------------------------------------------------


def _in_order_of_arrival(self: BatchOffers, without: frozenset[bytes], limit: int) -> tuple[bytes, ...]:
    waiting = (each for ready in self._ready for each in ready if each not in without)
    return tuple(waiting)[:limit]


FIRST_AUTHOR_FIRST: Final = swap("node.batch_offers.BatchOffers.take", by=_in_order_of_arrival)


def _proposer_alone(_self: BatchFetcher, _digest: bytes, wanted: Any) -> int | None:
    return wanted.hints[0]  # type: ignore[no-any-return]


ASK_THE_PROPOSER_ALONE: Final = swap("node.batch_fetcher.BatchFetcher._candidate", by=_proposer_alone)


def _same_author_again(self: BatchVerifier) -> Arrival | None:
    arrival = REAL_NEXT(self)
    if arrival is not None and arrival.author in self._turns:
        self._turns.remove(arrival.author)
        self._turns.appendleft(arrival.author)
    return arrival


REAL_NEXT: Final = BatchVerifier._next
NO_TURNS: Final = swap("node.batch_verifier.BatchVerifier._next", by=_same_author_again)


# --- signatures -------------------------------------------------------------------------------------------------------


def _by_openssl(signed: bytes, public_key: bytes) -> bytes:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signed[:64], signed[64:])
    except (InvalidSignature, ValueError) as error:
        raise BadSignatureError("OpenSSL refuses it") from error
    return signed[64:]


OPENSSL: Final = swap("genesis.signing.crypto_sign_open", by=_by_openssl)


# --- again ------------------------------------------------------------------------------------------------------------


def submit_again(self: Executor, commit: Any) -> None:
    """`Executor.submit` without its first look."""
    header = commit.proposal.header
    invariant(header.height == self._submitted + 1, "Blocks commit in order.", got=header.height, last=self._submitted)
    self._submitted = header.height
    self._pool.order(header.payload)
    self._queue.append(commit)
    self._wakeup.set()


def take_in_whatever_comes(self: Syncing, proposal: Any, qc: Any, now_ms: int) -> bool:
    """`Syncing._take_in` without its looks at what is here."""
    if proposal.header.parent_hash not in self._chain.tree:
        raise Rejected("bad_sync", "A block does not connect to what we have.", height=proposal.header.height)
    self._verifier.check_qc(qc)
    self._verifier.check_certified(proposal)
    self._following.insert(proposal, now_ms)
    self._following.learn_qc(qc, now_ms)
    return True


# --- contracts --------------------------------------------------------------------------------------------------------


def _of_any_units(self: _Walk, at: int, instruction: Instruction) -> tuple[Type, Interval]:
    return self._operand(at, instruction.a)


ANY_UNITS: Final = swap("contracts.vm.verifier._Walk._scaled", by=_of_any_units)


def _jump_anywhere(self: _Walk, _at: int, instruction: Instruction, _written: int) -> None:
    if instruction.op is Op.JUMP:
        self.written = None


ANY_JUMP: Final = swap("contracts.vm.verifier._Walk._jump", by=_jump_anywhere)
