"""What the HTTP interface may ask of a node, answered from its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import trio

from consensus.engine import Engine
from consensus.types import OBSERVER
from contracts import contract_queries, queries
from contracts.machine import State
from contracts.receipts import receipt_to_json
from genesis.document import GenesisDocument
from genesis.errors import Rejected
from node.clock import Clock
from node.epochs import Epochs
from node.evidence import EvidenceDesk
from node.executor import Executor
from node.intake import BEHIND_HEIGHTS_MAX, Admission, Intake, excused
from node.json_text import Json
from node.peers import Mesh
from node.proofs import Options, ProofDesk
from node.receipt_waits import ReceiptWaits
from node.signer_client import RemoteSigning
from node.store import CommittedBlock, Store

_T = TypeVar("_T")


class Face:
    """The node's side of `node.http_face.NodeFace`."""

    def __init__(
        self,
        document: GenesisDocument,
        name: str,
        clock: Clock,
        epochs: Epochs,
        core: Callable[[], Engine],
        mesh: Callable[[], Mesh],
        store: Store,
        executor: Executor,
        intake: Intake,
        receipts: ReceiptWaits,
        proofs: ProofDesk,
        desk: Callable[[], EvidenceDesk],
        retirement: Callable[[], str],
        signer: RemoteSigning | None,
    ) -> None:
        self._document = document
        self._name = name
        self._clock = clock
        self._epochs = epochs
        self._core_of_now = core
        self._mesh_of_now = mesh
        self._store = store
        self._executor = executor
        self._intake = intake
        self._receipts = receipts
        self._proofs = proofs
        self._signer = signer
        self._desk_of_now = desk
        self._retirement = retirement

    @property
    def _core(self) -> Engine:
        return self._core_of_now()

    @property
    def _mesh(self) -> Mesh:
        return self._mesh_of_now()

    @property
    def _reached(self) -> set[int]:
        """Ourselves and those to whom we are connected, as indices of the present epoch. While the seat of the epoch
        before is being left, its links may have places that this one does not know."""
        places = range(len(self._epochs.members))
        return {each for each in (self._epochs.index, *self._mesh.connected) if each in places}

    @property
    def _observes(self) -> str:
        """Why this node signs nothing: what the others have told it, else what its ledger says."""
        return self._retirement() or self._epochs.observes

    def ready(self) -> str:
        """Empty when the node takes part and has caught up, else the reason why not yet."""
        height = self._tip().height
        validators = self._epochs.validators
        power = validators.power_of(self._reached)
        behind = self._core.high_qc.height - height
        if observes := self._observes:
            return observes
        if power < validators.quorum_power:
            return f"connected to {power} of the {validators.quorum_power} of voting power that a quorum needs"
        if self._core.is_amnesiac:
            return "its safety state is lost: it signs nothing until a quorum of the others has told how far it may go"
        if self._core.silent_below_view:
            return f"its safety state was lost: it signs nothing before view {self._core.silent_below_view}"
        if self._signer is not None and not self._signer.is_connected:
            return f"{self._signer.why_not}: it signs nothing"
        if height == 0:
            return "no block has been executed yet"
        return f"{behind} blocks behind the best certificate" if behind > BEHIND_HEIGHTS_MAX else ""

    def status(self) -> Json:
        """Where this validator stands."""
        tip, clock = self._tip(), self._document.clock
        return {
            "name": self._name,
            "network": self._document.name,
            "chain_id": self._document.chain_id.hex(),
            "height": tip.height,
            "lowest_height": self._store.lowest,
            "epoch": self._epochs.epoch,
            "observes": self._observes,
            "view": self._core.view,
            "state_root": tip.state_root.hex(),
            "block_hash": tip.block_hash.hex(),
            "block_time_unix_ms": tip.time_unix_ms,
            "chain_unix_ms": self._clock.now().chain_unix_ms,
            "certified_height": self._core.high_qc.height,
            "committed_height": self._core.committed.height,
            "amnesiac": self._core.is_amnesiac or bool(self._core.silent_below_view),
            "signer": None if self._signer is None else self._signer.is_connected,
            "peers": len(self._mesh.connected),
            "committed_txs": tip.envelopes_total,
            "mempool": self._intake.waiting,
            "mempool_bytes": self._intake.waiting_bytes,
            "clock": {
                "wall_origin_unix_ms": clock.wall_origin_unix_ms,
                "chain_origin_unix_ms": clock.chain_origin_unix_ms,
                "speed": clock.speed,
            },
        }

    def genesis(self) -> Json:
        """The genesis document as plain values, with its chain id."""
        return {"chain_id": self._document.chain_id.hex(), **self._document.to_mapping()}

    async def validators(self) -> Json:
        """The validator set: names, keys, powers, addresses, who is connected, who leads, bonds and jailings."""
        connected, members, validators = self._reached, self._epochs.members, self._epochs.validators
        standing = await self._read(queries.validators)
        in_state = {each["name"]: each for each in standing["validators"]}
        gone = {"next_power": 0, "bonds": [], "deposits": []}
        return {
            "epoch": validators.epoch,
            "quorum_power": validators.quorum_power,
            "total_power": validators.total_power,
            "view": self._core.view,
            "leader": _name(self._epochs.names(self._core.high_qc.epoch), self._core.leader),
            "validators": [
                {
                    "name": each.name,
                    "public_key": each.public_key.hex(),
                    "power": each.power,
                    "address": each.address,
                    "connected": index in connected,
                    "jailed": each.name in standing["jailed"],
                    **{name: in_state.get(each.name, gone)[name] for name in gone},
                }
                for index, each in enumerate(members)
            ],
            "joining": standing["joining"],
        }

    async def submit(self, wires: Sequence[bytes]) -> Sequence[Admission]:
        """Check envelopes and take them into the mempool; one answer for each, in order."""
        if self._epochs.index == OBSERVER:
            raise Rejected("not_ready", "This node is no validator now; give transactions to one that is.")
        admissions = await self._intake.submit(wires)
        return excused(admissions, self._tip().height, self._core.high_qc.height)

    async def receipts(self, envelope_ids: Sequence[bytes], wait_ms: int) -> Sequence[Json | None]:
        """The receipts that exist within `wait_ms`, in order."""
        found = await self._receipts.wait_many(envelope_ids, wait_ms / 1000)
        return [receipt_to_json(found[each]) if each in found else None for each in envelope_ids]

    def no_receipt(self, envelope_id: bytes) -> Rejected:
        """What is said where there is no receipt; it may be of a block below what is kept here."""
        lowest, name = self._store.lowest, envelope_id.hex()
        if lowest <= 1:
            return Rejected("unknown_transaction", "No block holds this transaction yet.", id=name)
        message = (
            f"No block from {lowest} on holds this transaction yet. Receipts from before are not held here, since this "
            "validator joined by a snapshot or has pruned them: ask one whose lowest_height is below (/v1/status)."
        )
        return Rejected("unknown_transaction", message, id=name, lowest_height=lowest)

    async def block(self, height: int | None) -> Json:
        """The committed block of that height, or the latest."""
        return await trio.to_thread.run_sync(self._block, height)

    async def account(self, account_id: str) -> Json:
        """Balances per asset."""
        return await self._read(lambda state: queries.account(state, account_id))

    async def positions(self, account_id: str) -> Json:
        """Positions per series."""
        return await self._read(lambda state: queries.positions(state, account_id))

    async def series(self, series_id: str) -> Json:
        """One series."""
        return await self._read(lambda state: queries.series(state, series_id))

    async def series_page(self, after: str, limit: int | None) -> Json:
        """Some of the series, in order of name; by default as many as a page may hold."""
        size = queries.SERIES_PAGE_MAX if limit is None else limit
        return await self._read(lambda state: queries.series_page(state, after, size))

    async def indices(self, after: str, limit: int | None) -> Json:
        """Some of the price indices, in order of name."""
        size = queries.INDICES_PAGE_MAX if limit is None else limit
        return await self._read(lambda state: queries.indices(state, after, size))

    async def index(self, index_id: str) -> Json:
        """A price index and its latest price."""
        return await self._read(lambda state: queries.index(state, index_id))

    async def settlement(self, index_id: str, expiry_unix_ms: int, after: str, limit: int | None) -> Json:
        """The settlement record of one expiry, and some of its positions."""
        size = queries.SETTLED_PAGE_MAX if limit is None else limit
        return await self._read(lambda state: queries.settlement(state, index_id, expiry_unix_ms, after, size))

    async def contracts(self, after: str, limit: int | None) -> Json:
        """Some of the instances of contracts, in order of name."""
        size = contract_queries.CONTRACTS_PAGE_MAX if limit is None else limit
        return await self._read(lambda state: contract_queries.contracts(state, after, size))

    async def contract(self, contract_id: str) -> Json:
        """One instance."""
        return await self._read(lambda state: contract_queries.contract(state, contract_id))

    async def program(self, program_id: bytes) -> Json:
        """A stored program, disassembled."""
        return await self._read(lambda state: contract_queries.program(state, program_id))

    async def members(self, after: str, limit: int | None) -> Json:
        """Some of the members and their accounts, in order of name."""
        size = queries.MEMBERS_PAGE_MAX if limit is None else limit
        return await self._read(lambda state: queries.members(state, after, size))

    async def quarantine(self) -> Json:
        """The markets in quarantine."""
        return await self._read(queries.quarantined)

    async def proposals(self) -> Json:
        """The proposals that wait."""
        return await self._read(queries.proposals)

    async def epochs(self) -> Json:
        """The present epoch and the newest validator sets."""
        return await self._read(queries.epochs)

    async def proof(self, subject: str, path: Sequence[str], options: Options) -> Json:
        """What is asked, with its proof; see `node.proofs.entries_of`."""
        return await self._proofs.answer(subject, path, options)

    async def evidence(self) -> Json:
        """The evidence that waits here for its punishment, and the newest offences that were punished."""
        waiting = self._desk_of_now().waiting
        return await self._read(lambda state: queries.evidence(state, waiting))

    async def _read(self, query: Callable[[State], _T]) -> _T:
        return await self._executor.read(query)

    def _tip(self) -> CommittedBlock:
        tip = self._store.tip()
        if tip is None:
            raise Rejected("not_ready", "The ledger is not open yet.")
        return tip

    def _block(self, height: int | None) -> dict[str, Any]:
        wanted = self._tip().height if height is None else height
        block = self._store.committed(wanted)
        if block is None:
            raise Rejected("unknown_block", "No block of this height is committed here.", height=wanted)
        proposal = self._store.proposal(block.block_hash)
        header = proposal.header if proposal is not None else None
        names = self._epochs.names(block.qc.epoch)
        return {
            "height": block.height,
            "block_hash": block.block_hash.hex(),
            "state_root": block.state_root.hex(),
            "time_unix_ms": block.time_unix_ms,
            "envelopes": block.envelopes,
            "applied": block.applied,
            "envelopes_total": block.envelopes_total,
            "view": block.qc.view,
            "epoch": block.qc.epoch,
            "proposer": _name(names, header.proposer) if header is not None else None,
            "parent_hash": header.parent_hash.hex() if header is not None else None,
            "batches": [each.hex() for each in header.payload] if header is not None else [],
            "voters": [_name(names, index) for index, _ in block.qc.signatures],
            "receipts": [receipt.envelope_id.hex() for receipt in self._store.block_receipts(wanted)],
        }


def _name(names: Sequence[str], index: int) -> str:
    """A validator of an earlier epoch; by its index when the set of that epoch is no longer kept."""
    return names[index] if index < len(names) else str(index)
