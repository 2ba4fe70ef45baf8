"""What the HTTP interface asks of a node: the seam between `node.http_api`, which translates, and `node.face`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from genesis.errors import Rejected
from node.json_text import Json


class Outcome(Protocol):
    """What became of one submitted envelope (`node.intake` makes them)."""

    @property
    def envelope_id(self) -> bytes | None:
        """Its id, where it could be decoded."""

    @property
    def code(self) -> str:
        """Empty when it was admitted, else the rule that it broke."""

    @property
    def message(self) -> str:
        """The refusal, for people."""


class NodeFace(Protocol):
    """What the interface asks of a node. Every method may raise `Rejected`; none blocks the event loop."""

    def ready(self) -> str:
        """Empty when the node takes part and has caught up, else the reason why not yet."""

    def status(self) -> Json:
        """The document of ``/v1/status``."""

    def genesis(self) -> Json:
        """The genesis document as plain values, with its chain id."""

    async def validators(self) -> Json:
        """The validator set: names, keys, powers, addresses, who is connected, bonds, who is jailed."""

    async def submit(self, wires: Sequence[bytes]) -> Sequence[Outcome]:
        """Check envelopes and take them into the mempool; one answer for each, in order."""

    async def receipts(self, envelope_ids: Sequence[bytes], wait_ms: int) -> Sequence[Json | None]:
        """The receipts of these envelopes, in order, as JSON; waits until all are durable or `wait_ms` are over.

        None where there is no receipt by then. Must be safe to cancel.
        """

    def no_receipt(self, envelope_id: bytes) -> Rejected:
        """What is said where there is none: ``unknown_transaction``, and how far back the receipts here go."""

    async def block(self, height: int | None) -> Json:
        """The committed block of that height, or the latest; `Rejected` ``unknown_block``."""

    async def account(self, account_id: str) -> Json:
        """Balances per asset; `Rejected` ``unknown_account``."""

    async def positions(self, account_id: str) -> Json:
        """Positions per series; `Rejected` ``unknown_account``."""

    async def series(self, series_id: str) -> Json:
        """One series; `Rejected` ``unknown_series``."""

    async def series_page(self, after: str, limit: int | None) -> Json:
        """The series behind `after` in order of name, at most `limit`, and in ``next`` what to ask for ``after`` next.

        `Rejected` ``bad_limit``. Without a limit, as many as a page may hold.
        """

    async def indices(self, after: str, limit: int | None) -> Json:
        """Price indices, in order of name behind `after`; `Rejected` ``bad_limit``."""

    async def index(self, index_id: str) -> Json:
        """A price index and its latest price; `Rejected` ``unknown_index``."""

    async def settlement(self, index_id: str, expiry_unix_ms: int, after: str, limit: int | None) -> Json:
        """The settlement record of one expiry; `Rejected` ``unknown_index``, ``not_settled``, ``bad_limit``."""

    async def contracts(self, after: str, limit: int | None) -> Json:
        """Instances of contracts, in order of name behind `after`; `Rejected` ``bad_limit``."""

    async def contract(self, contract_id: str) -> Json:
        """One instance: its terms, its inputs, what is locked; `Rejected` ``unknown_contract``."""

    async def program(self, program_id: bytes) -> Json:
        """A stored program, disassembled; `Rejected` ``unknown_program``."""

    async def members(self, after: str, limit: int | None) -> Json:
        """Members and their accounts, in order of name behind `after`; `Rejected` ``bad_limit``."""

    async def quarantine(self) -> Json:
        """The markets in quarantine, since when and why."""

    async def proposals(self) -> Json:
        """The proposals that wait for approval or for the next edge."""

    async def evidence(self) -> Json:
        """The evidence that waits, the newest offences that were punished, who is jailed."""

    async def epochs(self) -> Json:
        """The present epoch, the newest validator sets and the next."""

    async def proof(self, subject: str, path: Sequence[str], options: Sequence[tuple[str, str]]) -> Json:
        """What is asked, with its proof (`node.proofs.entries_of`)."""
