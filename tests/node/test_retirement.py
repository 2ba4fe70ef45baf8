"""Who was removed while it was away learns it from what it can verify, and from nothing else: docs/FAULTS.md row 33."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from contracts.machine import genesis_state
from genesis.codec import encode
from genesis.errors import Rejected
from node.frames import FrameReader, Lane
from node.hello import say_hello
from node.retirement import Retirement
from node.serving_rate import BURST_BYTES, BYTES_PER_S, REQUEST_BYTES
from node.set_history import History, decode_history, encode_history, encode_link
from node.store import Store
from node.store_records import HEIGHT
from tests.node.changing_chain import EPOCH_BLOCKS, ChangingChain, changing_chain
from tests.node.dataplane import Reports
from tests.node.network import (
    STRANGER,
    config_of,
    deadline_nursery,
    dialled,
    hello_of,
    identity_of,
    start,
    watched_log,
)
from tests.node.test_set_history import STRANGERS

pytestmark = pytest.mark.trio


FIRST_CERTIFICATE = bytes([1])
"""That of v0, which the edge of epoch 2 removes."""


def retirement_of(chain: ChangingChain, store: Store, certificate: bytes, reports: Reports) -> Retirement:
    """One whose ledger has not left epoch 0."""
    return Retirement(chain.document, store, genesis_state(chain.document), certificate, reports)


@pytest.mark.parametrize("consensus", ["hotstuff", "pbft"])
async def test_a_removed_validator_is_convinced_by_the_links_and_says_so_once(tmp_path: Path, consensus: str) -> None:
    """It hangs otherwise without a word, for nobody lets it in."""
    chain, reports = changing_chain(consensus), Reports()
    with closing(Store.open(tmp_path / "ledger", chain.document.chain_id)) as store:
        retired = retirement_of(chain, store, FIRST_CERTIFICATE, reports)
        for _ in range(2):
            await retired.hear(encode_history(History(None, chain.links())))
        assert "no validator since epoch 3 (height 25)" in retired.notice
        assert reports.lines == [("retired", {"epoch": 3, "height": 25, "validators": "v1, v2, v3, v4, v5"})]
        retired.let_in()
        assert retired.notice == ""


async def test_an_answer_in_pages_leads_on_from_where_it_ended(tmp_path: Path) -> None:
    """The edge that removed it may lie far ahead."""
    chain, reports = changing_chain(), Reports()
    links = chain.links()
    with closing(Store.open(tmp_path / "ledger", chain.document.chain_id)) as store:
        retired = retirement_of(chain, store, FIRST_CERTIFICATE, reports)
        assert retired.request() == encode([0])
        await retired.hear(encode_history(History(None, links[:1])))
        assert (retired.notice, retired.request()) == ("", encode([1]))
        await retired.hear(encode_history(History(None, links[1:2])))
        assert "since epoch 3" in retired.notice


async def test_whoever_is_still_a_validator_is_not_retired_by_any_links(tmp_path: Path) -> None:
    """A key that was rotated has the same certificate; v3 has only stayed."""
    chain, reports = changing_chain(), Reports()
    with closing(Store.open(tmp_path / "ledger", chain.document.chain_id)) as store:
        for certificate in (bytes([2]), bytes([4])):
            stays = retirement_of(chain, store, certificate, reports)
            await stays.hear(encode_history(History(None, chain.links())))
            assert (stays.notice, reports.lines) == ("", [])


async def test_one_whose_ledger_ends_at_the_edge_that_removed_it_needs_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has executed its removal, was stopped before the epoch closed, and there is no later change to show it."""
    monkeypatch.setattr("tests.node.changing_chain.TOP", 3 * EPOCH_BLOCKS)
    chain, reports = ChangingChain(changing_chain().document), Reports()
    with closing(Store.open(tmp_path / "ledger", chain.document.chain_id)) as store:
        for certificate, is_told in ((FIRST_CERTIFICATE, True), (bytes([2]), False), (bytes([99]), False)):
            node = Retirement(chain.document, store, chain.state, certificate, reports)
            await node.hear(encode_history(History()))
            assert bool(node.notice) is is_told
        assert [kind for kind, _ in reports.lines] == ["retired"]


async def test_removed_validators_are_served_one_at_a_time_and_at_a_rate(
    tmp_path: Path, autojump_clock: object
) -> None:
    """Row 29: a handshake costs them little, and megabytes of links cost us much."""
    chain, told = changing_chain(), list[bytes]()
    with closing(Store.open(tmp_path / "ledger", chain.document.chain_id)) as store:
        store._write([(b"t" + HEIGHT.pack(each.header.epoch), encode_link(each)) for each in chain.links()], sync=True)
        node, began = retirement_of(chain, store, b"", Reports()), trio.current_time()

        async def ask() -> None:
            told.append(await node.answer(b"one", encode([0])))

        async with trio.open_nursery() as nursery:
            for _ in range(3 * BURST_BYTES // REQUEST_BYTES):
                nursery.start_soon(ask)
        took = trio.current_time() - began
        assert took > 1.9 * BURST_BYTES / BYTES_PER_S
        assert set(told) == {encode_history(History(None, chain.links()))}
        await node.answer(b"another", encode([0]))
        assert trio.current_time() - began == took


def by_strangers(chain: ChangingChain) -> History:
    """Nobody that it knew signed."""
    links = list(chain.links())
    links[1] = replace(links[1], qc=chain.qc(links[1].header, keys=STRANGERS))
    return History(None, tuple(links))


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (by_strangers, "phantom_validators"),
        (lambda chain: History(None, chain.links()[1:]), "skipped_transition"),
        (lambda chain: History(chain.start(30), chain.links()), "bad_start"),
    ],
)
async def test_a_false_farewell_is_not_believed(
    tmp_path: Path, told: Callable[[ChangingChain], History], code: str
) -> None:
    """Any validator could silence another with it."""
    chain, reports = changing_chain(), Reports()
    with closing(Store.open(tmp_path / "ledger", chain.document.chain_id)) as store:
        retired = retirement_of(chain, store, FIRST_CERTIFICATE, reports)
        with pytest.raises(Rejected, match=code):
            await retired.hear(encode_history(told(chain)))
        assert (retired.notice, reports.lines) == ("", [])


class Said:
    """A farewell that hands out links from a ledger, and remembers what it hears."""

    def __init__(self, store: Store, chain: ChangingChain, former: frozenset[bytes]) -> None:
        self.former = former
        self.heard: list[bytes] = []
        self._real = retirement_of(chain, store, b"", Reports())

    def request(self) -> bytes:
        """From the beginning."""
        return self._real.request()

    async def answer(self, certificate: bytes, payload: bytes) -> bytes:
        """What a node says."""
        return await self._real.answer(certificate, payload)

    async def hear(self, payload: bytes) -> None:
        """Remember."""
        self.heard.append(payload)


async def test_former_validators_are_told_in_the_hello_and_strangers_are_not(tmp_path: Path) -> None:
    """Over TLS: who has no certificate of any set does not get past the handshake, who had one learns why."""
    chain = changing_chain()
    with closing(Store.open(tmp_path / "ledger", chain.document.chain_id)) as store:
        store._write([(b"t" + HEIGHT.pack(each.header.epoch), encode_link(each)) for each in chain.links()], sync=True)
        said = Said(store, chain, frozenset({identity_of(1).certificate}))
        async with deadline_nursery() as nursery:
            # A mesh of validators 0 and 2; 1 was one.
            config = config_of(0, {}, 3)
            config = replace(config, peers=config.peers[1:])
            with watched_log() as log:
                zero = await start(nursery, config, farewell=said)
                async with dialled(zero.mesh.port, identity_of(1)) as stream:
                    hello, certificate = hello_of(Lane.BULK), identity_of(0).certificate
                    with pytest.raises(Rejected) as refused:
                        await say_hello(stream, FrameReader(), hello, 0, certificate, said)
                    assert refused.value.details["verdict"] == "retired"
                assert [decode_history(each).links for each in said.heard] == [chain.links()]
                assert await log.code_of("refused a connection") == "retired"
                async with dialled(zero.mesh.port, STRANGER) as stream:
                    with pytest.raises(Rejected):
                        await say_hello(stream, FrameReader(), hello, 0, certificate, said)
                assert await log.code_of("refused a connection") == "tls_failed"
