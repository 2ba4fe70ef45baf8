"""The signer: a crash at any step, two nodes with one key, and whoever else knocks. docs/FAULTS.md rows 4 to 6."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from genesis.errors import Rejected
from genesis.signing import SigningKey, is_valid
from node.failures import StorageFailure
from node.signer import CONNECTIONS_MAX, FRAME_S_MAX
from node.signer_guard import Kind, Mark, Statement, bars, signed
from node.signer_protocol import (
    FRAME_BYTES_MAX,
    VERSION,
    Ask,
    Hello,
    Refusal,
    Sign,
    Signed,
    Standing,
    Welcome,
    encode_request,
)
from node.signer_ring import Signer
from tests.node.safety_images import Disk, PowerLoss, failing
from tests.node.signer_rig import (
    CHAIN_ID,
    KEY,
    A,
    B,
    Client,
    Notes,
    client_at,
    make_signer,
    mark_file,
    server_of,
    serving,
    vote,
)

pytestmark = pytest.mark.trio

OLD, X, Y = vote(5), vote(6), vote(6, B)


class StepKey:
    """A key that notes when it signs, and can fail to get that far."""

    public_key = KEY.public_key

    def __init__(self, steps: list[str], dies: bool) -> None:
        self._steps = steps
        self._dies = dies

    def sign(self, message: bytes) -> bytes:
        """The key's part."""
        if self._dies:
            raise PowerLoss
        self._steps.append("sign")
        return KEY.sign(message)


async def _try(signer: Signer, statement: Statement) -> bool:
    """Whether this signer signs it."""
    try:
        signature = await signer.sign(statement, 0)
    except Rejected:
        return False
    assert is_valid(KEY.public_key, statement.message(CHAIN_ID), signature)
    return True


# --- a crash at any step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["the process", "the power"])
@pytest.mark.parametrize("first", ["the same", "another"])
@pytest.mark.parametrize(
    ("dies_at", "is_durable"),
    [
        ("first write", False),
        ("second write", False),
        ("sync", False),
        ("signing", True),
        ("sending", True),
    ],
)
async def test_crash_at_any_step_never_lets_two_statements_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str, is_durable: bool, first: str, loss: str
) -> None:
    """Decide, write, sync, sign, send: whatever is asked after the restart, one statement of the view leaves."""
    make_signer(tmp_path, signed(Mark(), OLD, 0))
    steps: list[str] = []
    with closing(mark_file(tmp_path)) as file:
        signer = Signer(cast(SigningKey, StepKey(steps, dies_at == "signing")), CHAIN_ID, file)
        disk = Disk(tmp_path / "mark", monkeypatch)
        with monkeypatch.context() as patch:
            nth = {"first write": 1, "second write": 2}.get(dies_at)
            if nth is not None:
                patch.setattr(os, "pwrite", failing(os.pwrite, nth, PowerLoss()))
            if dies_at == "sync":
                patch.setattr(os, "fdatasync", failing(os.fdatasync, 1, PowerLoss()))
            if dies_at == "sending":
                await signer.sign(X, 0)
            else:
                with pytest.raises(PowerLoss):
                    await signer.sign(X, 0)
    assert steps == (["sign"] if dies_at == "sending" else [])
    if loss == "the power":
        disk.lose_power()
    with closing(mark_file(tmp_path)) as file:
        again = Signer(KEY, CHAIN_ID, file)
        asked = [X, Y] if first == "the same" else [Y, X]
        outcome = {each.block_hash: await _try(again, each) for each in asked}
    assert sum(outcome.values()) == 1
    if is_durable:
        assert outcome == {A: True, B: False}


async def test_mark_is_synced_before_the_key_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order itself; a repetition writes nothing."""
    make_signer(tmp_path)
    steps: list[str] = []
    with closing(mark_file(tmp_path)) as file:
        signer = Signer(cast(SigningKey, StepKey(steps, False)), CHAIN_ID, file)
        fdatasync = os.fdatasync

        def note(descriptor: int) -> None:
            steps.append("sync")
            fdatasync(descriptor)

        monkeypatch.setattr(os, "fdatasync", note)
        await signer.sign(X, 0)
        await signer.sign(X, 0)
        with pytest.raises(Rejected):
            await signer.sign(Y, 0)
    assert steps == ["sync", "sign", "sign"]


async def test_nothing_is_signed_after_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends; until it has, it must not sign on a mark that may not be there."""
    make_signer(tmp_path)
    with closing(mark_file(tmp_path)) as file:
        signer = Signer(KEY, CHAIN_ID, file)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(os.fdatasync, 1, OSError(5, "Input/output error")))
            with pytest.raises(StorageFailure):
                await signer.sign(X, 0)
        with pytest.raises(StorageFailure):
            await signer.sign(X, 0)


async def test_failed_disk_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator hears of it at once, and the node finds its signer gone rather than wrong."""
    make_signer(tmp_path)
    with pytest.RaisesGroup(StorageFailure, flatten_subgroups=True):
        async with serving(tmp_path) as path, client_at(path) as client:
            await client.greet()
            monkeypatch.setattr(os, "fdatasync", failing(os.fdatasync, 1, OSError(5, "Input/output error")))
            assert await client.sign(X) is None
            await trio.sleep_forever()


# --- two nodes, one key ---------------------------------------------------------------------------------------------


async def test_two_nodes_with_one_key_get_one_statement_a_view(tmp_path: Path) -> None:
    """Whoever comes second with another statement is refused; with the same one it gets the same signature."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path, client_at(path) as one, client_at(path) as other:
        assert await one.greet() == Welcome()
        assert await other.greet() == Welcome()
        first = await one.sign(X)
        assert isinstance(first, Signed)
        assert is_valid(KEY.public_key, X.message(CHAIN_ID), first.signature)
        assert await other.sign(X) == first
        refusal = await other.sign(Y)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, dict(refusal.details)["view"]) == ("signed_otherwise", "6")
        assert isinstance(await other.sign(vote(7, B)), Signed)
        assert isinstance(await one.sign(vote(7)), Refusal)


async def test_two_nodes_that_ask_at_once_are_served_one_after_the_other(tmp_path: Path) -> None:
    """The race that the lock is for: both decide on one mark, and both are above it."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path, client_at(path) as one, client_at(path) as other:
        clients = {A: one, B: other}
        for client in clients.values():
            await client.greet()
        for view in range(1, 12):
            answers: list[object] = []

            async def ask(client: Client, block: bytes, view: int = view, answers: list[object] = answers) -> None:
                answers.append(await client.sign(vote(view, block)))

            async with trio.open_nursery() as nursery:
                for block, client in clients.items():
                    nursery.start_soon(ask, client, block)
            assert sorted(type(each).__name__ for each in answers) == ["Refusal", "Signed"]


async def test_node_from_a_backup_is_refused_by_the_signer_that_lived_on(tmp_path: Path) -> None:
    """Its safety state says view 5, the key has signed in view 90; and it does not lower the mark by saying so."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path:
        async with client_at(path) as client:
            await client.greet()
            assert isinstance(await client.sign(vote(90), 89), Signed)
        async with client_at(path) as restored:
            assert await restored.greet(bars(0, 5, 5, 4)) == Welcome()
            for asked, code in (
                (vote(6, B), "below_mark"),
                (Statement(Kind.TIMEOUT, 0, 6, 4, None), "voted_beyond"),
                (Statement(Kind.TIMEOUT, 0, 90, 4, None), "below_lock"),
            ):
                refusal = await restored.sign(asked, 4)
                assert isinstance(refusal, Refusal)
                assert refusal.code == code


async def test_signer_from_a_backup_learns_from_the_node_what_was_signed(tmp_path: Path) -> None:
    """Its file loads, for nothing in it shows its age; the greeting raises the mark, durably."""
    make_signer(tmp_path)
    older = (tmp_path / "mark").read_bytes()
    async with serving(tmp_path) as path, client_at(path) as client:
        await client.greet()
        assert isinstance(await client.sign(vote(9), 8), Signed)
    (tmp_path / "mark").write_bytes(older)
    async with serving(tmp_path) as path, client_at(path) as client:
        assert await client.greet(signed(Mark(), vote(9), 8)) == Welcome()
    async with serving(tmp_path) as path, client_at(path) as client:
        await client.greet()
        assert isinstance(await client.sign(vote(9, B)), Refusal)
        assert isinstance(await client.sign(vote(9)), Signed)


async def test_node_that_shows_a_contradiction_is_refused(tmp_path: Path) -> None:
    """A signature of this key that this signer did not give: it signs elsewhere too."""
    make_signer(tmp_path, signed(Mark(), X, 0))
    async with serving(tmp_path) as path, client_at(path) as client:
        refusal = await client.greet(signed(Mark(), Y, 0))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "signed_otherwise"
        assert await client.hear() is None


# --- whoever else knocks --------------------------------------------------------------------------------------------

GREETING = encode_request(Hello(VERSION, CHAIN_ID, KEY.public_key, Mark()))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode_request(Sign(X, 0)), "no_hello"),
        (GREETING + GREETING, "second_hello"),
        (encode_request(Hello(VERSION + 1, CHAIN_ID, KEY.public_key, Mark())), "wrong_version"),
        (encode_request(Hello(VERSION, b"\x52" * 32, KEY.public_key, Mark())), "wrong_chain"),
        (encode_request(Hello(VERSION, CHAIN_ID, b"\x07" * 32, Mark())), "wrong_key"),
        ((FRAME_BYTES_MAX + 1).to_bytes(4, "big"), "frame_too_large"),
        (b"\xff\xff\xff\xff", "frame_too_large"),
        (b"\x00\x00\x00\x00", "frame_too_large"),
        (b"\x00\x00\x00\x01\xc1", "malformed"),
        (b"\x00\x00\x00\x03\x91\x01\x01", "malformed"),
        (GREETING + b"\x00\x00\x00\x02\x91\x07", "malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", "frame_too_large"),
    ],
)
async def test_whoever_breaks_the_protocol_is_told_and_cut(tmp_path: Path, data: bytes, code: str) -> None:
    """Nothing is signed for it, the mark stays, and the next one is served."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path:
        async with client_at(path) as client:
            await client.say(data)
            answer = await client.hear()
            if answer == Welcome():
                answer = await client.hear()
            assert isinstance(answer, Refusal)
            assert answer.code == code
            assert await client.hear() is None
        async with client_at(path) as client:
            assert await client.greet() == Welcome()
            assert isinstance(await client.sign(vote(1)), Signed)


@pytest.mark.parametrize("data", [b"", GREETING[:3], GREETING[:-1], GREETING + GREETING[:5]])
async def test_frame_that_is_not_whole_in_time_ends_the_connection(
    tmp_path: Path, data: bytes, autojump_clock: MockClock
) -> None:
    """One byte at a time, or none at all, must not hold a place for ever."""
    make_signer(tmp_path)
    notes = Notes()
    async with serving(tmp_path, notes) as path, client_at(path) as client:
        await client.say(data)
        begun = trio.current_time()
        while await client.hear() is not None:
            pass
        assert FRAME_S_MAX <= trio.current_time() - begun < 2 * FRAME_S_MAX
    assert ("cut", "too_slow") in [(kind, details.get("code")) for kind, details in notes.seen]


async def test_node_that_has_greeted_may_be_silent(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A chain that stands still asks for no signature for hours."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path, client_at(path) as client:
        await client.greet()
        await trio.sleep(3_600)
        assert isinstance(await client.sign(vote(1)), Signed)


async def test_client_that_does_not_read_holds_up_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Its answers fill its own socket, and then it is cut."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path, client_at(path) as deaf, client_at(path) as client:
        await client.greet()
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await _flood(deaf)
        assert trio.current_time() - begun < 2 * FRAME_S_MAX
        assert isinstance(await client.sign(vote(1)), Signed)


async def _flood(client: Client) -> None:
    """Ask without end, and hear nothing."""
    while True:
        await client.say(encode_request(Ask()) * 100)


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """A process that opens one after the other does not exhaust the signer's descriptors; a place left counts."""
    make_signer(tmp_path)
    notes = Notes()
    async with serving(tmp_path, notes) as path, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_at(path)) for _ in range(CONNECTIONS_MAX)]
        for client in clients:
            assert await client.greet() == Welcome()
        async with client_at(path) as one_too_many:
            assert await one_too_many.hear() is None
        assert notes.kinds.count("too_many_connections") == 1
        await clients[0].say(b"\xff\xff\xff\xff")
        assert isinstance(await clients[0].hear(), Refusal)
        assert await clients[0].hear() is None
        async with client_at(path) as client:
            assert await client.greet() == Welcome()


async def test_standing_tells_the_mark_and_the_counts(tmp_path: Path) -> None:
    """What `novate signer status` shows; anyone of this user may ask, without a greeting."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path, client_at(path) as client, client_at(path) as watcher:
        await client.greet()
        for each in (X, X, Y):
            await client.sign(each, 5)
        assert await watcher.ask(Ask()) == Standing(CHAIN_ID, 1, KEY.public_key, "", signed(Mark(), X, 5), 1, 1, 1)


# --- the socket -----------------------------------------------------------------------------------------------------


async def test_socket_is_its_owners_alone_and_gone_afterwards(tmp_path: Path) -> None:
    """Whoever can write to it can use the key."""
    make_signer(tmp_path)
    async with serving(tmp_path) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """A mode of 0600 on a socket is not heeded by every system; its directory's is."""
    make_signer(tmp_path)
    (tmp_path / "run").mkdir(mode=0o755)
    (tmp_path / "run").chmod(0o755)
    with pytest.RaisesGroup(pytest.RaisesExc(Rejected, match="exposed_directory"), flatten_subgroups=True):
        async with serving(tmp_path):
            pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_another_user_is_cut_even_where_the_modes_let_it_in(tmp_path: Path) -> None:
    """The system's word on who connects is the second lock."""
    make_signer(tmp_path)
    notes = Notes()
    connect = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.connect(chr(0) + sys.argv[1]); print(s.recv(1))"
    )
    with closing(mark_file(tmp_path)) as file:
        server = server_of(file, tmp_path / "run" / "s", notes)
        listening = trio.socket.socket(trio.socket.AF_UNIX)
        name = f"novate-test-{os.getpid()}"
        with listening:
            await listening.bind("\0" + name)
            listening.listen()
            async with trio.open_nursery() as nursery:
                command = [sys.executable, "-c", connect, name]
                nursery.start_soon(_printed, command, notes)
                accepted, _ = await listening.accept()
                await server._handle(trio.SocketStream(accepted))
    assert ("refused_user", {"uid": 65534}) in notes.seen
    assert ("printed", {"text": "b''"}) in notes.seen


async def _printed(command: list[str], notes: Notes) -> None:
    """Run a process and note what it prints."""
    done = await trio.run_process(command, capture_stdout=True)
    notes("printed", {"text": done.stdout.decode().strip()})


async def test_socket_that_a_killed_signer_left_is_taken_over(tmp_path: Path) -> None:
    """`kill -9` leaves the name behind; the restart must not need a hand."""
    make_signer(tmp_path)
    path = tmp_path / "run" / "s"
    path.parent.mkdir(mode=0o700)
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.is_socket()
    async with serving(tmp_path) as path, client_at(path) as client:
        assert await client.greet() == Welcome()


async def test_socket_at_which_another_signer_listens_is_left_to_it(tmp_path: Path) -> None:
    """A copy of the directory, started beside the first, must not push it aside."""
    make_signer(tmp_path)
    make_signer(tmp_path / "copy")
    async with serving(tmp_path) as path:
        with closing(mark_file(tmp_path / "copy")) as file:
            copy = server_of(file, path)
            with pytest.raises(Rejected, match="already_running"):
                await copy.run()
        async with client_at(path) as client:
            assert await client.greet() == Welcome()


@pytest.mark.parametrize("name", ["s" * 108, "taken"])
async def test_path_that_cannot_be_a_socket_is_refused(tmp_path: Path, name: str) -> None:
    """Too long for the system, or a file of somebody's: refused with a reason, and the file is left."""
    make_signer(tmp_path)
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    (directory / "taken").write_text("precious")
    with closing(mark_file(tmp_path)) as file:
        server = server_of(file, directory / name)
        with pytest.raises(Rejected, match="bad_socket"):
            await server.run()
    assert (directory / "taken").read_text() == "precious"
