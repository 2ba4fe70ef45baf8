"""The node's end of the signer's socket: out of reach, back again, refused, and shown what it had forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from consensus.types import QC, Timeout, Vote
from genesis.errors import Rejected
from genesis.signing import SigningKey, is_valid
from genesis.statements import Phase
from node.failures import ReplicaHalted
from node.signer_client import ANSWER_S_MAX, RETRY_REFUSED_S, ask_standings
from node.signer_guard import Kind, Last, Mark, bars, permit
from node.signer_protocol import FrameBuffer, Signed, Welcome, decode_request, encode_answer
from node.signing import fields_of
from tests.node.signer_rig import CHAIN_ID, KEY, NEXT, PATIENCE_S, A, B, Remote, make_signer, mark_file, remote, serving

pytestmark = pytest.mark.trio


def vote(view: int, block: bytes = A) -> Vote:
    """The core's vote, unsigned."""
    return Vote(0, view, Phase.CERTIFY, 7, block, 1)


def first_of_epoch(epoch: int) -> Vote:
    """The core's vote in the first view of an epoch."""
    return Vote(epoch, 1, Phase.CERTIFY, 8 * epoch + 1, A, 1)


def timeout(view: int, high_qc_view: int) -> Timeout:
    """The core's timeout, unsigned."""
    return Timeout(0, view, QC(0, high_qc_view, Phase.CERTIFY, 3, A, ()), None, 1)


async def reached(node: Remote, times: int = 1) -> None:
    """Wait until the node has its signer."""
    await node.notes.until(lambda kinds: kinds.count("signer_reached") >= times)


def mark_in(directory: Path) -> Mark:
    """What the signer's directory remembers."""
    with closing(mark_file(directory)) as file:
        return file.load()


async def test_signature_is_the_keys_own(tmp_path: Path) -> None:
    """To the core and to every peer it makes no difference where the key is."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path, remote(path) as node:
        await reached(node)
        assert node.back == [None]
        for statement in (vote(5), timeout(5, 4)):
            signature = await node.signing.sign(statement, 4)
            assert signature is not None
            assert is_valid(KEY.public_key, fields_of(statement).message(CHAIN_ID), signature)
        [standing] = await ask_standings(path)
        assert standing.mark.lock_view == 4


async def test_signer_out_of_reach_answers_nothing_and_is_found_again(tmp_path: Path) -> None:
    """The node goes on without a voice, says so once, and has its voice back without help."""
    make_signer(tmp_path)
    path = tmp_path / "run" / "s"
    async with remote(path) as node:
        await node.notes.until(lambda kinds: kinds == ["signer_unreachable"])
        assert await node.signing.sign(vote(5), 4) is None
        for time in (1, 2):
            async with serving(tmp_path):
                await reached(node, time)
                assert await node.signing.sign(vote(5 + time), 4 + time) is not None
            await node.notes.until(lambda kinds, time=time: kinds.count("signer_unreachable") == time + 1)
            assert await node.signing.sign(vote(9), 8) is None
            assert not node.signing.is_connected
        assert len(node.back) == 2


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (vote(6), vote(6, B), "signed_otherwise"),
        (vote(6), vote(5), "below_mark"),
        (timeout(6, 5), vote(6), "given_up"),
        (vote(6), timeout(5, 4), "voted_beyond"),
        (vote(6), timeout(6, 4), "below_lock"),
    ],
)
async def test_refusal_halts_the_node(tmp_path: Path, first: Vote | Timeout, second: Vote | Timeout, code: str) -> None:
    """It is the second of two, or an old copy: nothing that it says from here on can be trusted, by itself least."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path, remote(path) as one, remote(path) as other:
        await reached(one)
        await reached(other)
        assert await one.signing.sign(first, 5) is not None
        with pytest.raises(ReplicaHalted, match=f"its signer refuses: {code}.*If its key also runs elsewhere"):
            await other.signing.sign(second, 0)


async def test_greeting_shows_what_the_safety_state_and_every_signature_since_say(tmp_path: Path) -> None:
    """A signer from a backup is brought up to date by the node that lived on, also without a restart of it."""
    make_signer(tmp_path)
    older = (tmp_path / "mark").read_bytes()
    async with remote(tmp_path / "run" / "s", bars(0, 3, 2, 2)) as node:
        async with serving(tmp_path):
            await reached(node)
            assert await node.signing.sign(vote(8), 7) is not None
        (tmp_path / "mark").write_bytes(older)
        async with serving(tmp_path):
            await reached(node, 2)
    mark = mark_in(tmp_path)
    assert mark.last[Kind.CERTIFY] == Last(8, fields_of(vote(8)))
    assert (mark.last[Kind.PROPOSAL], mark.lock_view) == (Last(2), 7)
    with pytest.raises(Rejected, match="signed_otherwise"):
        permit(mark, fields_of(vote(8, B)), 0)


async def test_signers_that_signed_apart_halt_the_node_at_the_greeting(tmp_path: Path) -> None:
    """Two copies of the signer's directory ran: the node that meets both tells."""
    for name in ("one", "other"):
        make_signer(tmp_path / name)
    async with serving(tmp_path / "other") as path, remote(path) as twin:
        await reached(twin)
        assert await twin.signing.sign(vote(8, B), 7) is not None
    path = tmp_path / "run" / "s"
    path.parent.mkdir(mode=0o700)
    halts = pytest.RaisesExc(ReplicaHalted, match="its signer refuses: signed_otherwise")
    with pytest.RaisesGroup(halts, flatten_subgroups=True):
        async with remote(path) as node:
            async with serving(tmp_path / "one") as one:
                path.symlink_to(one)
                await reached(node)
                assert await node.signing.sign(vote(8), 7) is not None
            path.unlink()
            async with serving(tmp_path / "other") as other:
                path.symlink_to(other)
                await trio.sleep(PATIENCE_S)


async def test_signer_of_another_chain_ends_the_node(tmp_path: Path) -> None:
    """An operator's mistake; retrying for ever would hide it."""
    make_signer(tmp_path)
    with pytest.RaisesGroup(pytest.RaisesExc(Rejected, match="wrong_chain"), flatten_subgroups=True):
        async with serving(tmp_path) as path, remote(path, chain_id=b"\x52" * 32):
            await trio.sleep(PATIENCE_S)


# --- two keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "code"),
    [
        ((KEY,), "wrong_key"),
        ((KEY, NEXT), "silent_key"),
    ],
)
async def test_signer_that_cannot_sign_with_the_named_key_costs_the_voice_alone(
    tmp_path: Path, has: tuple[SigningKey, ...], code: str, autojump_clock: MockClock
) -> None:
    """Governance may name a key before its operator has made it: the node says what is missing, once, and needs no
    restart when the signer has been started again with the key."""
    make_signer(tmp_path)
    async with remote(tmp_path / "run" / "s", public_key=NEXT.public_key) as node:
        async with serving(tmp_path, keys=has):
            await node.notes.until(lambda kinds: "signer_lacks_key" in kinds)
            await trio.sleep(3 * RETRY_REFUSED_S)
            assert node.notes.kinds.count("signer_lacks_key") == 1
            told = node.notes.of("signer_lacks_key")
            assert (told["code"], told["public_key"]) == (code, NEXT.public_key.hex())
            assert "the key that the validator set names" in node.signing.why_not
            assert await node.signing.sign(vote(5), 4) is None
        make_signer(tmp_path, key=NEXT)
        async with serving(tmp_path, keys=(KEY, NEXT)):
            await reached(node)
            assert await node.signing.sign(vote(5), 4) is not None


async def test_key_that_is_named_anew_is_greeted_and_signs_without_a_restart(tmp_path: Path) -> None:
    """The edge of an epoch: the node asks the same process, by the other key, and is called back for what it is owed.
    Each mark says what its own key has signed."""
    for key in (KEY, NEXT):
        make_signer(tmp_path, key=key)
    async with serving(tmp_path, keys=(KEY, NEXT)) as path, remote(path) as node:
        await reached(node)
        assert await node.signing.sign(vote(5), 4) is not None
        node.signing.use(KEY.public_key)
        assert node.signing.is_connected
        node.known = bars(1, 0, 0, 0)
        node.signing.use(NEXT.public_key)
        assert await node.signing.sign(first_of_epoch(1), 0) is None
        await reached(node, 2)
        signature = await node.signing.sign(first_of_epoch(1), 0)
        assert signature is not None
        assert is_valid(NEXT.public_key, fields_of(first_of_epoch(1)).message(CHAIN_ID), signature)
        assert (len(node.back), node.notes.kinds) == (2, ["signer_reached", "signer_reached"])
        old, new = await ask_standings(path)
    assert (old.mark.epoch, old.mark.last[Kind.CERTIFY]) == (0, Last(5, fields_of(vote(5))))
    assert (new.mark.epoch, new.mark.last[Kind.CERTIFY]) == (1, Last(1, fields_of(first_of_epoch(1))))


async def test_key_named_while_the_signer_is_away_is_the_one_that_is_greeted(tmp_path: Path) -> None:
    """An edge crossed without a voice: what comes back is asked by the key that counts."""
    for key in (KEY, NEXT):
        make_signer(tmp_path, key=key)
    async with remote(tmp_path / "run" / "s") as node:
        await node.notes.until(lambda kinds: kinds == ["signer_unreachable"])
        node.signing.use(NEXT.public_key)
        async with serving(tmp_path, keys=(KEY, NEXT)):
            await reached(node)
            assert node.notes.of("signer_reached")["public_key"] == NEXT.public_key.hex()


async def test_key_named_in_the_midst_of_a_greeting_or_a_question_ends_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """An answer that the old key gives must never stand for the new one."""
    async with impostor(tmp_path / "s"), remote(tmp_path / "s") as node:
        await wait_all_tasks_blocked()
        node.signing.use(NEXT.public_key)
        await wait_all_tasks_blocked()
        assert node.notes.kinds == []
    async with impostor(tmp_path / "t", encode_answer(Welcome())), remote(tmp_path / "t") as node:
        await reached(node)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_signs_nothing, node)
            await wait_all_tasks_blocked()
            node.signing.use(NEXT.public_key)


async def _signs_nothing(node: Remote) -> None:
    begun = trio.current_time()
    assert await node.signing.sign(vote(5), 4) is None
    assert trio.current_time() - begun < ANSWER_S_MAX


async def test_greeting_of_the_new_key_shows_what_the_safety_state_says_of_its_epoch(tmp_path: Path) -> None:
    """A signer from a backup, older than the edge, is raised by the node for the key of the epoch too."""
    for key in (KEY, NEXT):
        make_signer(tmp_path, key=key)
    async with serving(tmp_path, keys=(KEY, NEXT)) as path, remote(path) as node:
        await reached(node)
        node.known = bars(1, 6, 6, 5)
        node.signing.use(NEXT.public_key)
        await reached(node, 2)
        with pytest.raises(ReplicaHalted, match="below_mark"):
            await node.signing.sign(first_of_epoch(1), 0)


@asynccontextmanager
async def impostor(path: Path, *answers: bytes) -> AsyncIterator[None]:
    """A process that listens at the signer's socket, and gives these answers on every connection, then none."""

    async def talk(stream: trio.SocketStream) -> None:
        buffer = FrameBuffer()
        for answer in answers:
            while (payload := buffer.take()) is None:
                data = await stream.receive_some(4_096)
                if not data:
                    return
                buffer.append(data)
            decode_request(payload)
            await stream.send_all(answer)
        await trio.sleep_forever()

    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(path))
    listening.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, talk, [trio.SocketListener(listening)])
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        encode_answer(Welcome()),
        encode_answer(Signed(b"\x07" * 64)),
        encode_answer(Signed(KEY.sign(fields_of(vote(5, B)).message(CHAIN_ID)))),
    ],
)
async def test_answer_that_is_no_signature_costs_the_connection_alone(
    tmp_path: Path, answer: bytes, autojump_clock: MockClock
) -> None:
    """Silence, noise, a wrong signature: the node waits for at most one answer's time, and goes on."""
    async with impostor(tmp_path / "s", encode_answer(Welcome()), answer), remote(tmp_path / "s") as node:
        await reached(node)
        begun = trio.current_time()
        assert await node.signing.sign(vote(5), 4) is None
        assert trio.current_time() - begun <= ANSWER_S_MAX
        await node.notes.until(lambda kinds: "signer_unreachable" in kinds)
        await reached(node, 2)


async def test_process_that_answers_nothing_is_not_a_signer(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A signer that is stopped accepts connections by its backlog; the node must not take that for one that serves."""
    async with impostor(tmp_path / "s"), remote(tmp_path / "s") as node:
        await node.notes.until(lambda kinds: kinds == ["signer_unreachable"])
        assert await node.signing.sign(vote(5), 4) is None


async def test_standing_of_nobody_is_a_refusal(tmp_path: Path) -> None:
    """`novate signer status` says what to do instead of a traceback."""
    with pytest.raises(Rejected, match="no_signer"):
        await ask_standings(tmp_path / "s")
    await wait_all_tasks_blocked()
