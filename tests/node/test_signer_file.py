"""The signer's mark on disk: what is saved is read back, and nothing is ever taken for a fresh key."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from genesis.errors import InvariantViolation, Rejected
from node.failures import StorageFailure
from node.signer_file import FORMAT, SignerFile
from node.signer_guard import Kind, Mark, bars, signed
from tests.node.safety_images import failing
from tests.node.signer_rig import CHAIN_ID, KEY, B, mark_file, vote

MARK = signed(bars(0, 3, 2, 2), vote(5), 4)


def load(directory: Path) -> Mark:
    """What a signer that starts now goes on from."""
    with closing(mark_file(directory)) as file:
        return file.load()


def test_mark_is_read_back(tmp_path: Path) -> None:
    """What a signature rests on survives a restart, to the field."""
    for view in (5, 6, 7):
        mark = signed(MARK, vote(view), view - 1)
        with closing(mark_file(tmp_path)) as file:
            file.create(mark)
        assert load(tmp_path) == mark


def test_missing_mark_is_never_that_of_a_fresh_key(tmp_path: Path) -> None:
    """Whoever deletes the file must not get a second vote for it."""
    with closing(mark_file(tmp_path)) as file:
        with pytest.raises(Rejected, match="lost_mark"):
            file.load()
        file.create(MARK)
    (tmp_path / "mark").unlink()
    with pytest.raises(Rejected, match="lost_mark"):
        load(tmp_path)


def test_creation_over_a_mark_raises_it(tmp_path: Path) -> None:
    """A hand-over that is repeated must forget neither what the signer knows nor what the node does."""
    with closing(mark_file(tmp_path)) as file:
        file.create(MARK)
    with closing(mark_file(tmp_path)) as file:
        mark = file.create(bars(0, 4, 9, 3))
    assert [each.view for each in mark.last] == [9, 5, 4, 3, 0]
    assert mark.last[Kind.CERTIFY].said == vote(5)
    assert load(tmp_path) == mark


def test_creation_that_contradicts_the_mark_is_refused(tmp_path: Path) -> None:
    """Two directories of one key have signed apart; no file can mend that."""
    with closing(mark_file(tmp_path)) as file:
        file.create(MARK)
    with closing(mark_file(tmp_path)) as file, pytest.raises(Rejected, match="signed_otherwise"):
        file.create(signed(Mark(), vote(5, B), 0))
    assert load(tmp_path) == MARK


@pytest.mark.parametrize(
    ("chain_id", "public_key", "code"),
    [(b"\x52" * 32, KEY.public_key, "wrong_chain"), (CHAIN_ID, b"\x07" * 32, "wrong_mark")],
)
def test_mark_of_another_key_or_chain_is_refused(tmp_path: Path, chain_id: bytes, public_key: bytes, code: str) -> None:
    """A directory put together from two would sign by the other's memory."""
    with closing(mark_file(tmp_path)) as file:
        file.create(MARK)
    other = SignerFile(tmp_path / "mark", chain_id, public_key)
    with closing(other), pytest.raises(Rejected, match=code):
        other.load()
    with closing(other), pytest.raises(Rejected, match=code):
        other.create(MARK)


def test_damaged_mark_is_refused_and_left_alone(tmp_path: Path) -> None:
    """One copy may rot; both, and nobody knows what was signed."""
    path = tmp_path / "mark"
    with closing(mark_file(tmp_path)) as file:
        file.create(MARK)
    image = bytearray(path.read_bytes())
    image[60] ^= 1
    path.write_bytes(image)
    assert load(tmp_path) == MARK
    image = bytearray(path.read_bytes())
    for slot in range(4):
        image[slot * FORMAT.slot_bytes + 60] ^= 1
    path.write_bytes(image)
    with pytest.raises(Rejected, match=r"corrupt_signer_mark.*Never replace it by an older copy"):
        load(tmp_path)
    assert path.read_bytes() == bytes(image)


def test_mark_that_falls_is_our_own_bug(tmp_path: Path) -> None:
    """Epoch, lock and each kind; also right after a restart."""
    with closing(mark_file(tmp_path)) as file:
        file.create(signed(MARK, vote(6), 5))
    for lower in (MARK, bars(0, 6, 2, 4), bars(0, 6, 1, 5)):
        with closing(mark_file(tmp_path)) as file:
            file.load()
            with pytest.raises(InvariantViolation):
                file.save(lower)


def test_failed_save_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the mark is durable is not known, so nothing more is signed by this process."""
    with closing(mark_file(tmp_path)) as file:
        file.create(MARK)
        with monkeypatch.context() as patch:
            patch.setattr("os.fdatasync", failing(lambda _: None, 1, OSError(5, "Input/output error")))
            with pytest.raises(StorageFailure, match="Input/output error"):
                file.save(signed(MARK, vote(6), 5))
        with pytest.raises(StorageFailure, match="an earlier write"):
            file.save(signed(MARK, vote(6), 5))
