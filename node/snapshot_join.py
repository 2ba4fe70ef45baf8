"""Joining by snapshot: how a node with an empty directory comes to the state of the chain without executing its past.

Rules:

1. It starts from a block that its operator trusts, named by height and hash. Only an offer that is certified at or
   above that height is taken, by validators to whom a chain of certificates leads from that block
   (`node.snapshot_wire`); and once the state is here, it must name the same validators for its epoch.
2. Of the offers that honest power makes the highest is taken, and only without such an offer one of fewer peers; every
   peer that makes it is a source of its pieces (`node.snapshot_download`). A peer whose snapshot could not be fetched
   counts for less with each time. Certificates are public, so anyone can offer the highest snapshot and serve it badly:
   that may hold a joiner up once, not for ever.
3. A piece that does not lead to the certified root costs its sender its connections and its place among the sources;
   so does an answer to no question, and an offer that is not certified. A peer that says that it does not have a piece
   is not asked again. What is missing is asked for elsewhere.
4. When nobody is left to ask, everything begins again with new offers; nothing of an unfinished ledger is kept.
5. When peers with a quorum of the power (the named peers', where there are any), ourselves counted in, have said that
   they have no such snapshot and nobody offers one, there is none to join by, and the node fetches the whole chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import trio

from genesis.epochs import epoch_after_block
from genesis.errors import Rejected
from genesis.validator_sets import decode_validator_set, validator_set_key
from node.frames import Frame, FrameKind
from node.network import Network
from node.set_history import follow
from node.snapshot_download import Download
from node.snapshot_install import LedgerBuilder
from node.snapshot_wire import (
    Offer,
    PieceKind,
    PieceName,
    check_offer,
    decode_piece,
    decode_snapshot_offer,
    encode_piece_request,
    encode_snapshot_request,
)
from node.trust import Trust

OFFER_S: Final = 3.0
ROUND_PAUSE_S: Final = 0.5


class SnapshotJoin:
    """Fetches a snapshot from peers: `run` does it, the mesh hands it frames, connections come through `changed`.

    Args:
        index: Our own place among the validators.
        trust: The chain, and the block that the operator trusts.
        powers: The peers that count in rules 2 and 5, each with its power, by the places that the mesh gives them.
        ledger_path: ``data/ledger``, which must not exist or be empty.
        report: Called with (kind, values) for a log line.
    """

    def __init__(
        self,
        index: int,
        trust: Trust,
        powers: Mapping[int, int],
        ledger_path: Path,
        report: Callable[[str, dict[str, int | str]], None],
    ) -> None:
        self._index = index
        self._trust = trust
        self._powers = powers
        total = sum(powers.values())
        self._quorum_power, self._honest_power = total * 2 // 3 + 1, (total - 1) // 3 + 1
        self._ledger_path = ledger_path
        self._report = report
        self._height_min = trust.block.height if trust.block is not None else 0
        self._connected: frozenset[int] = frozenset()
        self._asked: set[int] = set()
        self._unanswered: Counter[int] = Counter()
        self._offers: dict[int, Offer | None] = {}
        self._owed: Counter[tuple[int, PieceName]] = Counter()
        self._failures: Counter[int] = Counter()
        self._download: Download | None = None
        self._builder: LedgerBuilder | None = None
        self._taking = trio.Lock()
        self._wakeup = trio.Event()

    def changed(self, connected: frozenset[int]) -> None:
        """For the mesh: peers have come or gone. Who has gone owes nothing, and is asked anew when it is back."""
        for peer in self._connected - connected:
            self._asked.discard(peer)
            self._offers.pop(peer, None)
            del self._unanswered[peer]
            for owed in [each for each in self._owed if each[0] == peer]:
                del self._owed[owed]
            if self._download is not None:
                self._download.drop(peer)
        self._connected = connected
        self._wakeup.set()

    async def run(self, network: Network) -> bool:
        """Join; True when there is a ledger now, False when there is no snapshot to join by (rule 5)."""
        while True:
            offer = await self._choose(network)
            if offer is None:
                return False
            peers = self._offerers(offer)
            self._report("joining", {"height": offer.height, "slices": 1 << offer.level, "sources": len(peers)})
            if await self._fetch(network, Download(offer, peers, self._trust.document.limits.merkle_depth)):
                self._report("joined", {"height": offer.height, "state_root": offer.state_root.hex()})
                return True
            self._report("join_failed", {"height": offer.height})
            self._failures.update(peers)
            self._asked -= set(self._offers)
            self._offers.clear()
            await trio.sleep(ROUND_PAUSE_S)

    async def __call__(self, peer: int, frames: list[Frame]) -> None:
        """Take frames from a peer; those that are not about snapshots are of no use yet.

        Raises:
            Rejected: The peer broke a rule and should be cut.
        """
        for kind, payload in frames:
            if kind is FrameKind.SNAPSHOT_OFFER:
                await self._on_offer(peer, payload)
            elif kind is FrameKind.PIECE_RESPONSE:
                await self._on_piece(peer, payload)

    # --- choosing --------------------------------------------------------------------------------------------------

    async def _choose(self, network: Network) -> Offer | None:
        """The best offer, once all who are connected have answered or had their time; None by rule 5."""
        until_s = trio.current_time() + OFFER_S
        while True:
            self._ask_for_offers(network)
            remaining_s = until_s - trio.current_time()
            if self._connected - set(self._offers) and remaining_s > 0:
                await self._woken(remaining_s)
                continue
            offers = [offer for offer in self._offers.values() if offer is not None]
            if offers:
                return max(offers, key=self._worth)
            if self._power_of([self._index, *self._offers]) >= self._quorum_power:
                return None
            if self._connected:
                self._report("no_snapshot_offered", {"height_min": self._height_min, "peers": len(self._connected)})
            await self._woken(OFFER_S)
            self._asked &= set(self._offers)
            until_s = trio.current_time() + OFFER_S

    def _ask_for_offers(self, network: Network) -> None:
        for peer in sorted(self._connected - self._asked):
            self._asked.add(peer)
            self._unanswered[peer] += 1
            network.send(peer, FrameKind.SNAPSHOT_REQUEST, encode_snapshot_request(self._height_min))

    def _worth(self, offer: Offer) -> tuple[int, bool, int]:
        """Rule 2: of two offers the one with more is taken."""
        peers = self._offerers(offer)
        is_backed = self._power_of(peers) >= self._honest_power
        return -min(self._failures[peer] for peer in peers), is_backed, offer.height

    def _power_of(self, peers: Iterable[int]) -> int:
        return sum(self._powers.get(each, 0) for each in peers)

    def _offerers(self, offer: Offer) -> list[int]:
        """Who offers this very snapshot."""
        return sorted(peer for peer, each in self._offers.items() if each and each.identity == offer.identity)

    async def _on_offer(self, peer: int, payload: bytes) -> None:
        height_min, offer = decode_snapshot_offer(payload)
        if not self._unanswered[peer] or height_min != self._height_min:
            raise Rejected("unasked_snapshot", "A peer offered a snapshot that nobody asked it for.", peer=peer)
        self._unanswered[peer] -= 1
        if offer is not None:
            await trio.to_thread.run_sync(check_offer, self._trust, offer)
        self._offers[peer] = offer
        self._wakeup.set()

    # --- fetching --------------------------------------------------------------------------------------------------

    async def _fetch(self, network: Network, download: Download) -> bool:
        """All pieces of one snapshot; False when nobody is left to ask."""
        self._builder = builder = await trio.to_thread.run_sync(LedgerBuilder, self._ledger_path)
        self._download = download
        try:
            while not download.is_complete:
                for peer in download.expire(trio.current_time()):
                    self._report("piece_late", {"peer": peer, "height": download.offer.height})
                if not download.sources:
                    break
                while (request := download.next_request(trio.current_time())) is not None:
                    self._owed[request] += 1
                    network.send(request[0], FrameKind.PIECE_REQUEST, encode_piece_request(request[1]))
                await self._woken(download.deadline_s() - trio.current_time())
        finally:
            self._download = None
            with trio.CancelScope(shield=True):
                async with self._taking:
                    self._builder = None
                    if not download.is_complete:
                        builder.discard()
        return download.is_complete and await trio.to_thread.run_sync(self._install, builder, download.offer)

    def _install(self, builder: LedgerBuilder, offer: Offer) -> bool:
        """Put the ledger in its place; False when the state names other validators than those that certified it."""
        reign = follow(self._trust, offer.history).reign(offer.header.epoch)
        row = builder.state_entry(key := validator_set_key(reign.first_epoch))
        stored = decode_validator_set(key, row) if row is not None else None
        state_epoch = epoch_after_block(offer.height, self._trust.epoch_blocks)
        if stored is None or stored.members != reign.members or not stored.decides(offer.header.epoch, state_epoch):
            self._report("other_validators", {"height": offer.height, "epoch": offer.header.epoch})
            builder.discard()
            return False
        builder.finish(offer, self._trust.document.chain_id, self._trust.block_epoch)
        return True

    async def _on_piece(self, peer: int, payload: bytes) -> None:
        name, data = decode_piece(payload)
        if not self._owed[peer, name]:
            raise Rejected("unasked_piece", "A peer sent a piece that nobody asked it for.", peer=peer)
        self._owed[peer, name] -= 1
        async with self._taking:
            download, builder = self._download, self._builder
            if download is None or builder is None:
                return
            download.answered(peer, name)
            try:
                if data is None:
                    self._report("piece_missing", {"peer": peer, "height": name.height, "place": name.place})
                    download.drop(peer)
                elif download.lacks(name):
                    await self._take(download, builder, name, data)
            except Rejected as error:
                self._report("bad_piece", {"peer": peer, "height": name.height, "place": name.place, "why": str(error)})
                download.drop(peer)
                raise
            finally:
                download.again(name)
                self._wakeup.set()

    async def _take(self, download: Download, builder: LedgerBuilder, name: PieceName, data: bytes) -> None:
        if name.kind is PieceKind.SLICE:
            entries = await trio.to_thread.run_sync(download.check, name, data)
        else:
            entries = download.check(name, data)
        await trio.to_thread.run_sync(builder.put_state, entries)
        download.taken(name, entries)

    async def _woken(self, timeout_s: float) -> None:
        self._wakeup = trio.Event()
        with trio.move_on_after(max(0.0, timeout_s)):
            await self._wakeup.wait()
