"""Makes proofs for clients: which entries a question is about, their buckets, and what certifies them.

Theory of operation. The state in memory is that after the last executed block, and its root is certified only two
blocks later, by a header whose anchor names it (rule C8 of docs/PROTOCOL.md). So the desk takes the buckets now, waits
for that header to be committed, and then answers; on an idle chain that takes as long as three blocks. Where the views
were not consecutive no header ever names the height, and the buckets are taken again, of a newer one.

What is answered has been verified by `node.proof`, the same way as its reader will. Where the validators have changed
often, that is a fraction of a second of work for anyone who asks; so proofs are made in `THREADS_MAX` threads, and
those who ask wait for one another and keep nobody else from a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

import trio

from consensus.types import QC, Header
from contracts.edge import validator_set_key
from contracts.entries import EntryName, entry_name
from contracts.holdings import pot_account
from contracts.merkle_proof import BucketProof
from contracts.state import State
from genesis.document import GenesisDocument
from genesis.errors import Rejected
from node.proof import ENTRIES_MAX, StateProof, proof_document
from node.store import Store
from node.transitions import history_for, own_block
from node.trust import Trust

CERTIFIED_WITHIN_S: Final = 20.0
THREADS_MAX: Final = 2

Options = Sequence[tuple[str, str]]
"""(name, value) of a question's parameters; a name may come several times."""

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


@dataclass(frozen=True, slots=True)
class Certified:
    """A block whose state root is certified: its height, and the committed header that names it, with its QC."""

    height: int
    header: Header
    qc: QC


def certified_from(store: Store, height: int) -> Certified | None:
    """The lowest block from `height` up whose state root a committed header names; None as long as there is none.

    Heights between two anchors are never named: the answer's may be above `height`. Blocks.
    """
    tip = store.tip()
    for above in range(height + 1, tip.height + 1 if tip is not None else 0):
        block = store.committed(above)
        proposal = store.proposal(block.block_hash) if block is not None else None
        if block is not None and proposal is not None and proposal.header.anchor.height >= height:
            return Certified(proposal.header.anchor.height, proposal.header, block.qc)
    return None


class ReadState(Protocol):
    """`Executor.read`: the answer of a short query that sees the state between two blocks."""

    def __call__(self, query: Callable[[State], _T]) -> Awaitable[_T]: ...


@dataclass(frozen=True, slots=True)
class _Taken:
    """The buckets of some entries as they were after one block."""

    height: int
    names: tuple[EntryName, ...]
    buckets: tuple[BucketProof, ...]
    standing: BucketProof | None


class ProofDesk:
    """Answers questions with proofs.

    Args:
        document: The chain.
        store: Where certified headers are found.
        read: How the state is read.
    """

    def __init__(self, document: GenesisDocument, store: Store, read: ReadState) -> None:
        self._document = document
        self._store = store
        self._read = read
        self._threads = trio.CapacityLimiter(THREADS_MAX)
        self._progress = trio.Event()

    def progressed(self) -> None:
        """A block has become durable."""
        self._progress.set()
        self._progress = trio.Event()

    async def answer(self, subject: str, path: Sequence[str], options: Options) -> dict[str, Any]:
        """The proof document of what is asked, see `entries_of`. With the option ``trust_height`` it starts from that
        block, for who trusts it, else from the genesis document.

        Raises:
            Rejected: as `entries_of`; ``not_certified`` when no certificate comes within `CERTIFIED_WITHIN_S`; and as
                `node.transitions.history_for`.
        """
        trusted_height = _trusted_height(options)
        if trusted_height:
            await self._in_thread(own_block, self._store, trusted_height)
        with trio.move_on_after(CERTIFIED_WITHIN_S):
            while True:
                taken = await self._read(lambda state: _take(state, subject, path, options))
                certified = await self._certified(taken.height)
                if certified.height == taken.height:
                    return await self._in_thread(self._document_of, taken, certified, trusted_height)
        raise Rejected("not_certified", "No certificate of the present state came in time; ask again.")

    async def _in_thread(self, work: Callable[[*_Args], _T], *args: *_Args) -> _T:
        return await trio.to_thread.run_sync(work, *args, limiter=self._threads)

    async def _certified(self, height: int) -> Certified:
        while True:
            progress = self._progress
            found = await self._in_thread(certified_from, self._store, height)
            if found is not None:
                return found
            await progress.wait()

    def _document_of(self, taken: _Taken, certified: Certified, trusted_height: int) -> dict[str, Any]:
        blocks, header = self._document.limits.epoch_blocks, certified.header
        history = history_for(self._store, blocks, trusted_height, header.epoch)
        trust = Trust(self._document, own_block(self._store, trusted_height) if trusted_height else None)
        chain_id = self._document.chain_id
        proof = StateProof(chain_id, header, certified.qc, taken.buckets, taken.standing, history)
        return proof_document(trust, proof, taken.names)


def entries_of(state: State, subject: str, path: Sequence[str], options: Options) -> list[EntryName]:
    """The entries that a question is about; ``trust_height`` among the options is for `ProofDesk.answer`.

    ======================================  ===========================================================================
    ``accounts/MEMBER/NAME``                the account, and its balance of every asset
    ``positions/MEMBER/NAME``               the account, and its positions; with ``series``, that one, held or not
    ``series/NAME``                         its terms and open interest
    ``index/NAME``                          its terms
    ``settlements/INDEX/EXPIRY_UNIX_MS``    the settlement price; with ``account``, also what it got, series by series
    ``contracts/NAME``                      an instance, its program, and what its pot holds
    ``programs/ID``                         a program
    ``entries/TABLE``                       one entry by its key: ``key``, once for each field
    ======================================  ===========================================================================

    Raises:
        Rejected: ``unknown_route``, ``unknown_table``, ``malformed``; ``limit_reached`` for more than `ENTRIES_MAX`.
    """
    chosen = dict(options)
    match subject, path:
        case "accounts", [member, sub]:
            account = f"{member}/{sub}"
            names = [("accounts", [account]), *(("balances", [account, each]) for each in sorted(state.assets.rows))]
        case "positions", [member, sub]:
            names = _positions(state, f"{member}/{sub}", chosen.get("series"))
        case "series", [series]:
            names = [("series", [series]), ("interest", [series])]
        case "index", [index]:
            names = [("indices", [index])]
        case "settlements", [index, expiry]:
            names = [("settlements", [index, expiry]), *_settled(state, index, expiry, chosen.get("account"))]
        case "contracts", [contract]:
            names = _contract(state, contract)
        case "programs", [program]:
            names = [("programs", [program])]
        case "entries", [table]:
            names = [(table, [value for name, value in options if name == "key"])]
        case _:
            raise Rejected("unknown_route", "There is no proof of this kind.", subject=subject[:32])
    if len(names) > ENTRIES_MAX:
        raise Rejected(
            "limit_reached", f"A proof shows {ENTRIES_MAX} entries at most; ask for one.", entries=len(names)
        )
    return [entry_name(table, key) for table, key in names]


def _positions(state: State, account: str, series: str | None) -> list[tuple[str, list[str]]]:
    held = [series] if series is not None else sorted(state.derived.held_by.get(account, ()))
    return [("accounts", [account]), *(("positions", [account, each]) for each in held)]


def _contract(state: State, contract: str) -> list[tuple[str, list[str]]]:
    """Of one that is not there, its absence alone."""
    row, pot = state.contracts.rows.get(contract), pot_account(contract)
    if row is None:
        return [("contracts", [contract])]
    balances = [("balances", [pot, asset]) for asset in sorted(set(row.assets))]
    return [("contracts", [contract]), ("programs", [row.program_id.hex()]), *balances]


def _settled(state: State, index: str, expiry: str, account: str | None) -> list[tuple[str, list[str]]]:
    if account is None or not expiry.isdigit():
        return []
    series = sorted(state.derived.settled_series.get((index, int(expiry[:15])), ()))
    return [("settled", [each, account]) for each in series if (each, account) in state.settled.rows]


def _take(state: State, subject: str, path: Sequence[str], options: Options) -> _Taken:
    names = tuple(entries_of(state, subject, path, options))
    buckets = {proof.bucket: proof for proof in (state.prove(name.entry_key) for name in names)}
    # The header that will name this state is of the epoch of the block above it.
    standing = state.prove(validator_set_key(state, state.epoch)) if state.epoch else None
    return _Taken(state.height, names, tuple(buckets[each] for each in sorted(buckets)), standing)


def _trusted_height(options: Options) -> int:
    values = [value for name, value in options if name == "trust_height"]
    if not values:
        return 0
    if len(values) > 1 or not values[0].isascii() or not values[0].isdigit() or len(values[0]) > 15:
        raise Rejected("malformed", "trust_height is the height of a block.", found=values[0][:32])
    return int(values[0])
