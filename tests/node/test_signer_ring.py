"""Two keys in one signer: each by its own mark, each silent for its own faults. docs/FAULTS.md rows 4 to 6."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from genesis.errors import Rejected
from genesis.signing import SigningKey, is_valid
from node.signer_file import FORMAT, SignerFile
from node.signer_guard import Kind, Mark, Statement, bars, signed
from node.signer_protocol import Ask, Refusal, Signed, Standing, Welcome
from node.signer_ring import open_ring
from tests.node.signer_rig import (
    CHAIN_ID,
    KEY,
    NEXT,
    A,
    B,
    Notes,
    client_at,
    make_signer,
    mark_file,
    serving,
    vote,
)

pytestmark = pytest.mark.trio

BOTH = (KEY, NEXT)
LAST = vote(9)
"""What the old key has signed last, in epoch 0."""


def in_epoch(epoch: int, view: int, block: bytes = A) -> Statement:
    """HotStuff's vote."""
    return Statement(Kind.CERTIFY, epoch, view, 7, block)


def make_both(directory: Path) -> None:
    """The old key has signed, the new one has not."""
    make_signer(directory, signed(Mark(), LAST, 8))
    make_signer(directory, key=NEXT)


# --- which key signs what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "statement", "code"),
    [
        (KEY, LAST, ""),
        (KEY, vote(9, B), "signed_otherwise"),
        (KEY, vote(8), "below_mark"),
        (KEY, Statement(Kind.TIMEOUT, 0, 9, 7, None), "below_lock"),
        (KEY, in_epoch(1, 3), ""),
        (NEXT, vote(9, B), ""),
        (NEXT, in_epoch(1, 1), ""),
    ],
)
async def test_each_key_is_held_to_its_own_mark(
    tmp_path: Path, key: SigningKey, statement: Statement, code: str
) -> None:
    """The old key stays refused what it has signed otherwise, for ever; the new one starts from nothing. (What the old
    one signs of a later epoch is a vote of nobody: the set names another key.)"""
    make_both(tmp_path)
    async with serving(tmp_path, keys=BOTH) as path, client_at(path) as client:
        assert await client.greet(key=key) == Welcome()
        answer = await client.sign(statement)
        if code:
            assert isinstance(answer, Refusal)
            assert answer.code == code
        else:
            assert isinstance(answer, Signed)
            assert is_valid(key.public_key, statement.message(CHAIN_ID), answer.signature)


async def test_old_key_after_the_edge_is_refused_its_epoch_once_it_has_been_shown(tmp_path: Path) -> None:
    """A node that shows that it is past the edge bars everything before it, for whichever key it means."""
    make_both(tmp_path)
    async with serving(tmp_path, keys=BOTH) as path, client_at(path) as client:
        assert await client.greet(bars(1, 0, 0, 0)) == Welcome()
        refusal = await client.sign(vote(10))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "old_epoch"


async def test_connection_keeps_to_the_key_that_it_named(tmp_path: Path) -> None:
    """Two nodes at work on both sides of the edge: what one key signs raises its mark alone, also on disk."""
    make_both(tmp_path)
    async with serving(tmp_path, keys=BOTH) as path, client_at(path) as old, client_at(path) as new:
        assert await old.greet() == Welcome()
        assert await new.greet(key=NEXT) == Welcome()
        for view in (10, 11):
            assert isinstance(await old.sign(vote(view), view - 1), Signed)
            assert isinstance(await new.sign(in_epoch(1, view - 9)), Signed)
        second = await old.greet(key=NEXT)
        assert isinstance(second, Refusal)
        assert second.code == "second_hello"
    marks = {}
    for key in BOTH:
        with closing(mark_file(tmp_path, key.public_key)) as file:
            marks[key] = file.load()
    assert [(each.epoch, each.voted_view, each.lock_view) for each in marks.values()] == [(0, 11, 10), (1, 2, 0)]


async def test_standing_tells_of_every_key_by_its_place(tmp_path: Path) -> None:
    """What `novate signer status` shows; beyond the last there is none."""
    make_both(tmp_path)
    async with serving(tmp_path, keys=BOTH) as path, client_at(path) as client, client_at(path) as watcher:
        await client.greet(key=NEXT)
        await client.sign(in_epoch(1, 1), 0)
        old = Standing(CHAIN_ID, 2, KEY.public_key, "", signed(Mark(), LAST, 8), 0, 0, 0)
        new = Standing(CHAIN_ID, 2, NEXT.public_key, "", signed(Mark(), in_epoch(1, 1), 0), 1, 0, 0)
        assert [await watcher.ask(Ask(0)), await watcher.ask(Ask(1))] == [old, new]
        beyond = await watcher.ask(Ask(2))
        assert isinstance(beyond, Refusal)
        assert beyond.code == "wrong_place"


# --- one key's fault is not another's -------------------------------------------------------------------------------


def lose(path: Path, _: Path) -> None:
    """Somebody deleted the mark."""
    path.unlink()


def exchange(path: Path, other: Path) -> None:
    """The other key's mark in its place: it would forbid what the other has signed, and nothing of its own."""
    shutil.copyfile(other, path)


def flip(path: Path, _: Path) -> None:
    """A flipped bit in every copy."""
    image = bytearray(path.read_bytes())
    for slot in range(4):
        image[slot * FORMAT.slot_bytes + 60] ^= 1
    path.write_bytes(image)


def of_another_chain(path: Path, _: Path) -> None:
    """The same key's mark, from another chain."""
    path.unlink()
    for key in BOTH:
        if mark_file(path.parent, key.public_key)._path == path:
            with closing(SignerFile(path, b"\x52" * 32, key.public_key)) as file:
                file.create(Mark())


@pytest.mark.parametrize("faulty", [KEY, NEXT], ids=["old", "new"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (lose, "lost_mark"),
        (exchange, "wrong_mark"),
        (flip, "corrupt_signer_mark"),
        (of_another_chain, "wrong_chain"),
    ],
)
async def test_key_without_its_own_mark_is_silent_and_the_other_signs(
    tmp_path: Path, fault: Callable[[Path, Path], None], code: str, faulty: SigningKey
) -> None:
    """A lost mark is cured by a new key, so it must not keep the new key from signing; nor may the old key sign."""
    make_both(tmp_path)
    healthy = NEXT if faulty is KEY else KEY
    paths = {each: mark_file(tmp_path, each.public_key)._path for each in BOTH}
    fault(paths[faulty], paths[healthy])
    notes = Notes()
    async with serving(tmp_path, notes, BOTH) as path:
        assert notes.kinds == ["silent_key"]
        assert (notes.of("silent_key")["code"], notes.of("silent_key")["public_key"]) == (code, faulty.public_key.hex())
        async with client_at(path) as client:
            refusal = await client.greet(key=faulty)
            assert isinstance(refusal, Refusal)
            assert (refusal.code, dict(refusal.details)["why"]) == ("silent_key", code)
            assert await client.hear() is None
        async with client_at(path) as client:
            assert await client.greet(key=healthy) == Welcome()
            assert isinstance(await client.sign(in_epoch(1, 1)), Signed)
            standing = await client.ask(Ask(BOTH.index(faulty)))
            assert isinstance(standing, Standing)
            assert standing.silent == code


async def test_signer_with_no_key_that_can_sign_does_not_start(tmp_path: Path) -> None:
    """It would only tell nodes to go away; its operator has to hear of it."""
    with pytest.raises(Rejected, match="lost_mark"), open_ring(CHAIN_ID, BOTH, partial(mark_file, tmp_path), Notes()):
        pass


async def test_one_key_twice_has_one_mark_in_memory(tmp_path: Path) -> None:
    """Two memories of one key would each permit what the other has refused."""
    make_signer(tmp_path)
    async with serving(tmp_path, keys=(KEY, KEY)) as path, client_at(path) as one, client_at(path) as other:
        assert await one.greet() == Welcome()
        assert await other.greet() == Welcome()
        assert isinstance(await one.sign(vote(5)), Signed)
        assert isinstance(await other.sign(vote(5, B)), Refusal)
