"""Talking to validators over HTTP: one connection to one of them, or whichever of several answers.

Rules:

1. `Connection` is one kept-alive connection. A validator that cannot be reached, or that answers with its own failure
   (5xx), raises `Unreachable`; what it refuses (4xx) raises `Rejected` with the validator's code and message.
2. `Client` holds a connection to each of several validators and asks the next one when one is unreachable. That is
   safe for submissions too: an envelope is named by its hash and executes at most once, wherever it is posted.
3. Nothing here waits by itself; the only waits are the server's (``wait_ms``) and the socket's timeout.

It stands on `http.client`: 0.12 ms of processor time a request where httpx takes 0.43 ms, and a fifth of the import
time. Neither class may be shared by threads.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlsplit

import msgpack

from genesis.errors import Rejected

ENVELOPES_PER_POST_MAX: Final = 1_000
TIMEOUT_S: Final = 10.0
Answer = TypeVar("Answer")
_JSON: Final = {"accept": "application/json"}
_MSGPACK: Final = {"accept": "application/json", "content-type": "application/msgpack"}


class Unreachable(Exception):
    """A validator that does not answer, or cannot. Ask another one, or later.

    Attributes:
        url, reason: Which, and why.
        may_have_heard: Whether the request may have reached it all the same.
    """

    def __init__(self, url: str, reason: str, *, may_have_heard: bool = True) -> None:
        super().__init__(f"{url} does not answer: {reason}")
        self.url = url
        self.reason = reason
        self.may_have_heard = may_have_heard


class NotFound(Rejected):
    """What was asked for is not there (404)."""


class Connection:
    """One kept-alive connection to one validator's HTTP interface.

    Args:
        url: E.g. ``http://127.0.0.1:9101``.
        timeout_s: How long one answer may take beyond the wait that was asked for.

    Raises:
        Rejected: ``bad_url``.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._http = _http_connection(url, timeout_s)

    def get(self, path: str, wait_ms: int = 0) -> Any:
        """The JSON value at `path`.

        Raises:
            Rejected: The validator's refusal.
            Unreachable: No answer.
        """
        return self._answer("GET", path, None, _JSON, wait_ms)

    def submit(self, wires: Sequence[bytes], wait_ms: int = 0) -> list[dict[str, Any]]:
        """Post envelopes; one result for each, in order (``id``, ``status``, and ``code``, ``message``, ``receipt``).

        Args:
            wires: At most `ENVELOPES_PER_POST_MAX` envelopes.
            wait_ms: How long the validator holds its answer back for the receipts, at most 60,000.
        """
        body = msgpack.packb(list(wires), use_bin_type=True)
        answer = self._answer("POST", f"/v1/transactions?wait_ms={wait_ms}", body, _MSGPACK, wait_ms)
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(wires) or not all(map(_is_result, results)):
            raise Unreachable(self.url, f"it did not answer one result to each of {len(wires)} envelopes")
        return results

    def answers(self, path: str) -> bool:
        """Whether a GET of `path` succeeds now."""
        try:
            self.get(path)
        except (Rejected, Unreachable):
            return False
        return True

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        self._http.close()

    def _answer(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], wait_ms: int) -> Any:
        kept_alive = self._http.sock is not None
        try:
            status, content = self._exchange(method, path, body, headers, wait_ms)
        except (ConnectionError, http.client.RemoteDisconnected) as error:
            self.close()
            if not kept_alive:
                heard = not isinstance(error, ConnectionRefusedError)
                raise Unreachable(self.url, str(error) or type(error).__name__, may_have_heard=heard) from error
            return self._answer(method, path, body, headers, wait_ms)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(self.url, str(error) or type(error).__name__) from error
        return self._read(status, content)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], wait_ms: int
    ) -> tuple[int, bytes]:
        self._http.timeout = self._timeout_s + wait_ms / 1_000
        if self._http.sock is not None:
            self._http.sock.settimeout(self._http.timeout)
        self._http.request(method, path, body, dict(headers))
        response = self._http.getresponse()
        return response.status, response.read()

    def _read(self, status: int, content: bytes) -> Any:
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Unreachable(self.url, f"status {status} without JSON") from error
        if status < 400:
            return value
        refusal = _refusal(status, value if isinstance(value, dict) else {})
        if status >= 500:
            raise Unreachable(self.url, f"status {status}, {refusal.message}")
        raise refusal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """Several validators as one: whoever answers.

    Args:
        urls: One or more validators' addresses.
        timeout_s: How long one answer may take beyond the wait that was asked for.

    Attributes:
        unheard: How many requests may have reached a validator that gave no answer.
    """

    def __init__(self, urls: Sequence[str], timeout_s: float = TIMEOUT_S) -> None:
        if not urls:
            raise Rejected("no_validators", "No validator's address is known; give --url or --dir.")
        self._connections = [Connection(url, timeout_s) for url in urls]
        self.unheard = 0
        self._turn = 0

    @property
    def url(self) -> str:
        """Whom the next request goes to first."""
        return self._connections[self._turn].url

    def rotate(self) -> None:
        """Let the next request begin with the next validator."""
        self._turn = (self._turn + 1) % len(self._connections)

    def get(self, path: str, wait_ms: int = 0) -> Any:
        """The JSON value at `path` from the first validator that answers; `Rejected` as it refuses.

        Raises:
            Rejected: A refusal, or ``unreachable`` when nobody answers.
        """
        return self._first(lambda connection: connection.get(path, wait_ms))

    def find(self, path: str, wait_ms: int = 0) -> Any | None:
        """Like `get`, with None for what the validator does not know."""
        try:
            return self.get(path, wait_ms)
        except NotFound:
            return None

    def submit(self, wires: Sequence[bytes], wait_ms: int = 0) -> list[dict[str, Any]]:
        """Post envelopes to the first validator that answers; see `Connection.submit`."""
        return self._first(lambda connection: connection.submit(wires, wait_ms))

    def close(self) -> None:
        """Close every connection."""
        for each in self._connections:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _first(self, ask: Callable[[Connection], Answer]) -> Answer:
        failures: list[str] = []
        for _ in self._connections:
            try:
                return ask(self._connections[self._turn])
            except Unreachable as error:
                failures.append(str(error))
                self.unheard += error.may_have_heard
                self.rotate()
        raise Rejected("unreachable", f"No validator answers: {'; '.join(failures)}. Is the network up?")


def _is_result(result: Any) -> bool:
    """Whether this is what a validator says of one envelope."""
    if not isinstance(result, dict) or not isinstance(result.get("status"), str):
        return False
    receipt = result.get("receipt")
    return receipt is None or (isinstance(receipt, dict) and {"code", "message"} <= receipt.keys())


def _http_connection(url: str, timeout_s: float) -> http.client.HTTPConnection:
    """A connection to the host that an address names, not opened yet; `Rejected` (``bad_url``) if it names none."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(url)
        parts.hostname.encode("idna")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname, parts.port, timeout=timeout_s)
    except (ValueError, http.client.InvalidURL) as error:
        message = "A validator's address looks like http://127.0.0.1:9101."
        raise Rejected("bad_url", message, found=url[:64]) from error


def all_series(client: Client) -> list[dict[str, Any]]:
    """The terms of every series that the chain lists, in the order of their names, page by page.

    Raises:
        Rejected: ``bad_answer`` when a validator's pages do not go forward.
    """
    return [each for page in pages(client, "/v1/series") for each in page["series"]]


def all_indices(client: Client) -> list[dict[str, Any]]:
    """Every price index, as `all_series`."""
    return [each for page in pages(client, "/v1/index") for each in page["indices"]]


def all_contracts(client: Client) -> list[dict[str, Any]]:
    """Every instance of a contract, as `all_series`."""
    return [each for page in pages(client, "/v1/contracts") for each in page["contracts"]]


def all_members(client: Client) -> list[dict[str, Any]]:
    """Every member with its accounts, as `all_series`."""
    return [each for page in pages(client, "/v1/members") for each in page["members"]]


def whole_settlement(client: Client, path: str) -> dict[str, Any]:
    """The settlement of an expiry with all its positions, as `all_series`; a series that goes on is put together.

    What else it says is of the first page: ``complete`` there means that no later page lacks a position either.
    """
    whole: dict[str, Any] = {}
    for page in pages(client, path):
        joined = list(whole.get("series", ()))
        for each in page["series"]:
            if joined and joined[-1]["series"] == each["series"]:
                before = joined.pop()
                each = {
                    **each,
                    "paid_minor": before["paid_minor"] + each["paid_minor"],
                    "positions": [*before["positions"], *each["positions"]],
                }
            joined.append(each)
        whole = {**page, **whole, "series": joined}
    whole.pop("next", None)
    return whole


def pages(client: Client, path: str) -> Iterator[dict[str, Any]]:
    """The pages of a list, one after the other.

    Raises:
        Rejected: ``bad_answer`` when a validator's pages do not go forward.
    """
    after = ""
    while True:
        page = client.get(f"{path}?after={quote(after, safe='')}" if after else path)
        yield page
        following = page.get("next")
        if following is None:
            return
        if not isinstance(following, str) or following <= after:
            raise Rejected("bad_answer", "A validator's list goes backwards.", after=after, next=str(following)[:128])
        after = following


def _refusal(status: int, value: Mapping[str, Any]) -> Rejected:
    """The refusal that an error answer ``{"code", "message", "details"}`` states."""
    details = value.get("details")
    named = {
        str(name): each if isinstance(each, int | str) else str(each)
        for name, each in (details.items() if isinstance(details, dict) else ())
        if name not in ("code", "message", "self")
    }
    code = str(value.get("code") or f"http_{status}")
    message = str(value.get("message") or f"The validator answered with status {status}.")
    return (NotFound if status == 404 else Rejected)(code, message, **named)
