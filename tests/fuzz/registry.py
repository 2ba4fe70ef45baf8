"""Every decoder of the product: what valid input looks like, what it may raise, and what goes back.

Rules:

1. A function that takes in bytes or text from outside (another validator, a client, an operator's file, our own disk)
   and makes values of it stands in `DECODERS`, or in `COVERED` under the one that calls it.
2. `test_decoders.test_every_decoder_is_registered` finds them by what they do: by name (``decode_``, ``parse_``,
   ``split_``) or because they call a parser. So a new decoder that is not here fails the suite.

How to register one: an entry in `DECODERS` with a strategy for valid input, built from whole values, so that mutations
of it reach deep.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w
from hypothesis import strategies as st
from starlette.requests import Request

from cli.client import Connection, Unreachable
from cli.output import Failure
from cli.proofs.certificate import FORMAT as CERTIFICATE_FORMAT
from cli.proofs.certificate import read_certificate
from cli.tape import parse_index, parse_price, parse_tape
from cli.tape_generator import generate_tape
from cli.testnet_files import RECORD_FILE, load_testnet
from cli.tx import _parse_line
from cli.verify import _read_json
from consensus.events import SafetyState
from consensus.wire import (
    MESSAGE_BYTES_MAX,
    decode_header,
    decode_message,
    decode_proposal,
    decode_qc,
    decode_safety,
    encode_header,
    encode_message,
    encode_proposal,
    encode_qc,
    encode_safety,
)
from contracts.entries import row_to_json
from contracts.merkle_proof import parse_pair
from contracts.operations import KINDS, build_operation, parse_operation
from contracts.receipts import RECEIPT_BYTES_MAX, decode_receipt, encode_receipt
from contracts.snapshot import ReplayCheck, check_slice, cut_state
from contracts.state import genesis_state
from contracts.vm.bytecode import PROGRAM_BYTES_MAX, decode_program, encode_program
from contracts.vm.language.compiler import compile_text
from contracts.vm.language.lexer import SOURCE_BYTES_MAX
from genesis.addresses import join_address, split_address
from genesis.codec import decode, encode, tree
from genesis.document import DOCUMENT_BYTES_MAX, parse_document
from genesis.envelope import decode_envelope
from genesis.errors import Rejected
from genesis.evidence import EVIDENCE_BYTES_MAX, decode_evidence, encode_evidence
from genesis.hashing import ZERO_DIGEST, Domain, digest
from genesis.params import ChainParams
from genesis.validator_sets import decode_validator_set, validator_set_key
from node import signer_file, signer_protocol
from node.batch_fetcher import split_digests
from node.batches import BatchFormat
from node.blocksync import _REQUEST, BlockFetcher
from node.config import CONFIG_BYTES_MAX, NodeConfig, load_config
from node.failures import StorageFailure
from node.frames import (
    HEADER,
    HELLO_BYTES_MAX,
    REQUEST_BYTES_MAX,
    FrameKind,
    FrameReader,
    Lane,
    lane_table,
    payload_bounds,
)
from node.hello import Hello, decode_hello, encode_hello
from node.home import card_mapping, format_document, parse_card
from node.http_api import HttpLimits, _envelope_id, _integer, _parse_wires
from node.keystore import KEY_FILE_BYTES_MAX, KdfCost, KeyStore
from node.proof import decode_proof, encode_proof, proof_document, verify_document
from node.retirement import decode_links_request, encode_links_request
from node.safety_file import SafetyFile
from node.set_history import (
    NOTHING,
    History,
    decode_bucket,
    decode_history,
    decode_link,
    encode_bucket,
    encode_history,
    encode_link,
)
from node.signer_guard import Mark, decode_mark, encode_mark, mark_values
from node.signer_home import load_signer
from node.snapshot_wire import (
    PieceKind,
    PieceName,
    decode_offer,
    decode_piece,
    decode_piece_request,
    decode_pruned,
    decode_snapshot_offer,
    decode_snapshot_request,
    encode_offer,
    encode_piece,
    encode_piece_request,
    encode_pruned,
    encode_snapshot_offer,
    encode_snapshot_request,
)
from node.store_records import pack, packed_item, put_record, read_record, unpack
from tests.consensus.bench import GENESIS_QC, make_proposal, make_qc, make_tc
from tests.fuzz import shapes
from tests.fuzz.actus import ACTUS_COVERED, CASES, read_cases
from tests.fuzz.carriers import SCRATCH, in_file, in_text
from tests.fuzz.journals import JOURNAL, JOURNAL_FILE, read_journal
from tests.fuzz.stored import STORED, entry_bytes, restore_entry
from tests.node.changing_chain import TOP, changing_chain
from tests.node.dataplane import CHAIN_ID, DOCUMENT, PARAMS, committed, envelope_wire, receipt_of
from tests.node.test_proof import NAMES, story, trust_in
from tests.node.test_snapshot_files import offer_of

FORMAT: Final = BatchFormat(CHAIN_ID, PARAMS, 4)
LIMITS: Final = HttpLimits()
TABLE: Final = lane_table(payload_bounds(PARAMS), Lane.CONSENSUS)


MEMORY_BYTES_MAX: Final = 48 * 2**20
"""Rule 4 of `genesis.codec` allows 32 MiB for the worst nest."""


@dataclass(frozen=True)
class Decoder:
    """One way in.

    Attributes:
        name: ``module:function``, as the search finds it.
        decode: From bytes to a value.
        valid: Strategy for bytes that decode.
        encode: The way back; None where the value keeps no trace of it.
        canonical: Whether a value has one form only, so that the way back gives the very bytes.
        size_max: Above it nothing is decoded; None where the caller bounds it (frames, files).
        refusals: What it may raise.
        memory_bytes_max: What it may take for a moment.
    """

    name: str
    decode: Callable[[bytes], Any]
    valid: st.SearchStrategy[bytes]
    encode: Callable[[Any], bytes] | None = None
    canonical: bool = True
    size_max: int | None = None
    refusals: tuple[type[Exception], ...] = (Rejected,)
    memory_bytes_max: int = MEMORY_BYTES_MAX


# --- what valid input looks like -------------------------------------------------------------------------------------


FIRST = make_proposal(1, payload=(bytes(32), b"\1" * 32))
QC1 = make_qc(FIRST.header)
TC2 = make_tc(2, QC1, GENESIS_QC, GENESIS_QC)
LIBRARY = Path(__file__).resolve().parents[2] / "contracts" / "library"
CONTRACTS = [file.read_bytes() for file in sorted(LIBRARY.glob("*.contract"))]
ENVELOPES = [envelope_wire(number) for number in range(4)]
BATCHES = [encode([author, number, ENVELOPES[: number + 1]]) for author in range(4) for number in range(3)]
ANSWERS = [
    encode([0, 0, [], encode_qc(GENESIS_QC)]),
    encode([0, 0, [encode_proposal(FIRST)], encode_qc(QC1)]),
]
CARD = DOCUMENT.validators[0]
KEY_COST = KdfCost(1, 8_192)


def key_file() -> bytes:
    """A key file as the key store writes it."""
    with tempfile.TemporaryDirectory() as directory:
        store = KeyStore(Path(directory))
        store.create("fuzz", b"open", cost=KEY_COST)
        return store.path("fuzz").read_bytes()


def safety_bytes() -> bytes:
    """A safety file, its slots' empty ends left out; `as_safety_file` puts them back."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "safety"
        file = SafetyFile(path, CHAIN_ID)
        file.save(SafetyState(0, 9, 8, QC1, TC2))
        file.close()
        return path.read_bytes()


def read_safety(home: Path) -> SafetyState | None:
    """What the safety file of a directory says."""
    file = SafetyFile(home / "safety", CHAIN_ID)
    try:
        return file.load()
    finally:
        file.close()


def request_with(media_type: str) -> Request:
    """A posted request, its body elsewhere."""
    headers = [(b"content-type", media_type.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""})


def parse_msgpack_body(data: bytes) -> Any:
    """A body of ``application/msgpack``."""
    if len(data) > LIMITS.body_bytes_max:
        raise Rejected("too_large", "The body is over its limit.")
    return _parse_wires(request_with("application/msgpack"), data, LIMITS)


def parse_json_body(data: bytes) -> Any:
    """A body of ``application/json``."""
    return _parse_wires(request_with("application/json"), data, LIMITS)


def take_frames(data: bytes) -> Any:
    """The whole frames in a stream."""
    reader = FrameReader()
    reader.append(data)
    return reader.take(TABLE), bytes(reader._buffer)


def join_frames(found: Any) -> bytes:
    """The stream that `take_frames` took apart."""
    frames, rest = found
    return b"".join(HEADER.pack(len(payload), kind) + payload for kind, payload in frames) + rest


def read_answer(data: bytes) -> Any:
    """The body of a validator's answer, as a client reads it."""
    return Connection("http://127.0.0.1:1")._read(200, data)


def packed_items(data: bytes) -> Any:
    """Every item of a packed list."""
    return [packed_item(data, position) for position in range(min(64, int.from_bytes(data[:4], "big")))]


def operations(data: bytes) -> Any:
    """An operation as it stands in an envelope that was decoded."""
    value = decode(data, tree(3), size_max=65_536)
    if type(value) is not tuple or not value or type(value[0]) is not int:
        raise Rejected("malformed", "An operation is an array that begins with its kind.")
    return parse_operation(value)


def built(text: str) -> Any:
    """An operation that a person wrote: the kind in the first line, then fields."""
    kind, *lines = text.split("\n")
    return build_operation(kind, dict(each.partition("=")[::2] for each in lines))


KEY_FILE = key_file()
SAFETY_FILE = safety_bytes()
CONFIG = NodeConfig(home=Path(SCRATCH.name), name="v0", faults_max=3)
CONFIG_TOML = tomli_w.dumps(CONFIG.to_mapping()).encode()
TESTNET = json.dumps({"version": 1, "validators": [{"name": "v0", "url": "http://127.0.0.1:1"}]}).encode()
TAPE_LINES = generate_tape().encode().split(b"\n")
TAPE = b"\n".join(TAPE_LINES[:20]) + b"\n"
CERTIFICATE = json.dumps(
    {
        "format": CERTIFICATE_FORMAT,
        "program_id": "00" * 32,
        "verdict": "proved",
        "parameters": [],
        "claims": [],
        "solver": {},
    }
).encode()
INDEX = b"ts_utc_ms,price\n1786924800000,60000.00\n1786924801000,60001.50\n"


def written(kind: str) -> bytes:
    """A person's text for an operation of this kind, some of its fields right."""
    texts = {each.name: shapes.text_of(shapes.fitting(each)) for each in KINDS[kind].fields}
    return "\n".join([kind, *(f"{name}={value}" for name, value in texts.items())]).encode()


def stored(block: Any) -> bytes:
    """A committed block's record, as the store keeps it."""
    entries: list[Any] = []
    put_record(entries, block)
    return bytes(entries[0][1])


RECORD = stored(committed(FIRST))
IDS = bytes(range(64))
SIGNER_FIELDS = {"name": "v0", "network": "n", "chain_id": "11" * 32, "public_key": "22" * 32, "socket": "/s"}
SIGNER_TOML = tomli_w.dumps(SIGNER_FIELDS).encode()
STANDING = signer_protocol.Standing(bytes(32), 2, bytes(32), "lost_mark", Mark(), 1, 2, 3)
SET_KEY = validator_set_key(7)
MEMBERS = [[each.name, each.public_key, each.power, each.address, each.certificate] for each in DOCUMENT.validators]
VALIDATOR_SET = SET_KEY + encode([None, MEMBERS])
PIECES = [PieceName(7, kind, place) for kind in PieceKind for place in (0, 3)]
CUT = cut_state(genesis_state(DOCUMENT).entries(), PARAMS.merkle_depth)
STORY, PROOF = story()
LATER = changing_chain().proof(TOP, History(changing_chain().start(15), changing_chain().links(1)))
PROOF_JSON = json.dumps(proof_document(trust_in(0), PROOF, NAMES)).encode()


def take_replay(data: bytes) -> Any:
    """A piece of a snapshot's replay memory, by a state that expects it."""
    check = ReplayCheck(9)
    check.expect([(b"\x0d" + encode(5), encode([digest(Domain.REPLAY, ZERO_DIGEST + IDS)]))])
    return check.take(data)


def verified(data: bytes) -> Any:
    """A proof document from a file, verified."""
    return verify_document(trust_in(0), read_json(data))


read_json = in_file("proof.json", lambda home: _read_json(home / "proof.json"))


DECODERS: Final = (
    Decoder("genesis.codec:decode", lambda data: decode(data, tree(4), size_max=4_096),
            shapes.values(4).map(encode), encode, size_max=4_096),
    Decoder("genesis.envelope:decode_envelope", lambda data: decode_envelope(data, CHAIN_ID, PARAMS),
            st.sampled_from(ENVELOPES), lambda value: value.wire, size_max=PARAMS.envelope_bytes_max),
    Decoder("genesis.document:parse_document", in_text(parse_document),
            st.just(format_document(DOCUMENT).encode()), lambda value: format_document(value).encode(),
            canonical=False, size_max=DOCUMENT_BYTES_MAX),
    Decoder("genesis.addresses:split_address", in_text(split_address),
            st.sampled_from([b"127.0.0.1:26600", b"[::1]:1", b"a.example:65535", b"[fe80::1%eth0]:80"]),
            lambda value: join_address(*value).encode(), canonical=False),
    Decoder("contracts.vm.bytecode:decode_program", decode_program,
            st.sampled_from([encode_program(compile_text(each).program) for each in CONTRACTS]), encode_program,
            size_max=PROGRAM_BYTES_MAX),
    Decoder("contracts.vm.language.parser:parse_contract", compile_text, st.sampled_from(CONTRACTS),
            size_max=SOURCE_BYTES_MAX),
    Decoder("consensus.wire:decode_message", decode_message, shapes.messages().map(encode_message), encode_message,
            size_max=MESSAGE_BYTES_MAX),
    Decoder("consensus.wire:decode_proposal", decode_proposal, shapes.proposals().map(encode_proposal),
            encode_proposal, size_max=MESSAGE_BYTES_MAX),
    Decoder("consensus.wire:decode_qc", decode_qc, shapes.qcs().map(encode_qc), encode_qc,
            size_max=MESSAGE_BYTES_MAX),
    Decoder("consensus.wire:decode_safety", decode_safety, shapes.safeties().map(encode_safety), encode_safety,
            size_max=MESSAGE_BYTES_MAX),
    Decoder("consensus.wire:decode_header", decode_header,
            shapes.proposals().map(lambda each: encode_header(each.header)),
            encode_header, size_max=MESSAGE_BYTES_MAX),
    Decoder("genesis.evidence:decode_evidence", decode_evidence, shapes.evidence().map(encode_evidence),
            encode_evidence, size_max=EVIDENCE_BYTES_MAX),
    Decoder("genesis.validator_sets:decode_validator_set",
            lambda data: decode_validator_set(data[: len(SET_KEY)], data[len(SET_KEY) :]),
            st.just(VALIDATOR_SET)),
    Decoder("node.signer_guard:decode_mark", decode_mark, st.just(encode_mark(Mark())), encode_mark),
    Decoder("node.signer_file:_decode", signer_file._decode, st.just(encode([bytes(32), mark_values(Mark())]))),
    Decoder("node.signer_home:load_signer", in_file("signer.toml", load_signer), st.just(SIGNER_TOML)),
    Decoder("node.signer_protocol:decode_request", signer_protocol.decode_request,
            st.sampled_from([signer_protocol.Ask(), signer_protocol.Hello(1, bytes(32), bytes(32), Mark())]).map(
                lambda each: signer_protocol.encode_request(each)[4:])),
    Decoder("node.signer_protocol:decode_answer", signer_protocol.decode_answer,
            st.sampled_from([signer_protocol.Welcome(), signer_protocol.Signed(bytes(64)), STANDING]).map(
                lambda each: signer_protocol.encode_answer(each)[4:])),
    Decoder("node.proof:decode_proof", decode_proof, st.just(encode_proof(PROOF)), encode_proof),
    Decoder("node.retirement:decode_links_request", decode_links_request, st.integers(0, 2**32).map(
        encode_links_request), encode_links_request),
    Decoder("node.set_history:decode_history", decode_history, st.just(encode_history(LATER.history)), encode_history),
    Decoder("node.set_history:decode_link", decode_link, st.sampled_from(LATER.history.links).map(encode_link),
            encode_link),
    Decoder("node.set_history:decode_bucket", decode_bucket, st.just(encode_bucket(LATER.buckets[0])), encode_bucket),
    Decoder("cli.verify:_read_json", verified, st.just(PROOF_JSON), memory_bytes_max=2 * MEMORY_BYTES_MAX),
    Decoder("contracts.entries:row_to_json", lambda data: row_to_json("meta", data),
            st.just(encode([1, 2]))),
    Decoder("contracts.merkle_proof:parse_pair", parse_pair,
            st.tuples(st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=20)).map(encode), encode),
    Decoder("contracts.snapshot:check_slice",
            lambda data: check_slice(data, CUT.root, PARAMS.merkle_depth, CUT.level, 0), st.just(CUT.slices[0])),
    Decoder("contracts.snapshot:ReplayCheck.take", take_replay, st.just(encode([[5, ZERO_DIGEST, [[3, IDS]]]]))),
    Decoder("node.snapshot_wire:decode_snapshot_request", decode_snapshot_request,
            st.integers(0, 2**40).map(encode_snapshot_request), encode_snapshot_request),
    Decoder("node.snapshot_wire:decode_snapshot_offer", decode_snapshot_offer,
            st.tuples(st.integers(0, 2**40), st.sampled_from([None, encode_offer(offer_of(3))])).map(
                lambda each: encode_snapshot_offer(*each, LATER.history)),
            lambda value: encode_snapshot_offer(value[0], None if value[1] is None else encode_offer(value[1]),
                                                value[1].history if value[1] is not None else NOTHING)),
    Decoder("node.snapshot_wire:decode_offer", decode_offer, st.just(encode_offer(offer_of(3))), encode_offer),
    Decoder("node.snapshot_wire:decode_piece_request", decode_piece_request,
            st.sampled_from(PIECES).map(encode_piece_request), encode_piece_request),
    Decoder("node.snapshot_wire:decode_piece", decode_piece,
            st.tuples(st.sampled_from(PIECES), st.none() | st.binary(min_size=1, max_size=50)).map(
                lambda each: encode_piece(*each)), lambda value: encode_piece(*value)),
    Decoder("node.snapshot_wire:decode_pruned", decode_pruned, st.just(encode_pruned(1, 9)),
            lambda value: encode_pruned(*value)),
    Decoder("contracts.receipts:decode_receipt", decode_receipt,
            st.builds(receipt_of, st.integers(0, 99), st.integers(0, 2**32), st.integers(0, 99),
                      st.sampled_from(["", "insufficient_funds"])).map(encode_receipt),
            encode_receipt, size_max=RECEIPT_BYTES_MAX),
    Decoder("contracts.operations:parse_operation", operations,
            st.sampled_from(list(KINDS.values())).map(shapes.operation)),
    Decoder("contracts.operations:build_operation", in_text(built), st.sampled_from(sorted(KINDS)).map(written)),
    Decoder("contracts.state:_decoded", restore_entry, st.sampled_from(STORED).map(entry_bytes)),
    Decoder("node.hello:decode_hello", decode_hello,
            st.builds(Hello, shapes.DIGESTS, shapes.DIGESTS, st.sampled_from(Lane),
                      st.sampled_from(["", "barred"])).map(encode_hello),
            encode_hello, size_max=HELLO_BYTES_MAX),
    Decoder("node.batches:BatchFormat.open", lambda data: FORMAT.open(data, FORMAT.digest(data), None),
            st.sampled_from(BATCHES), lambda value: value.wire, size_max=PARAMS.batch_bytes_max),
    Decoder("node.batch_fetcher:split_digests", lambda data: split_digests(data, 32),
            st.lists(shapes.DIGESTS, min_size=1, max_size=32).map(b"".join), b"".join, size_max=32 * 32),
    Decoder("node.blocksync:BlockServer.handle", lambda data: decode(data, _REQUEST, size_max=REQUEST_BYTES_MAX),
            st.integers(0, 2**48 - 1).map(lambda height: encode([height // 7 % 2**32, height])), encode,
            size_max=REQUEST_BYTES_MAX),
    Decoder("node.blocksync:BlockFetcher._parse", lambda data: FETCHER._parse(data), st.sampled_from(ANSWERS),
            lambda value: encode([*value[0], [encode_proposal(each) for each in value[1]], encode_qc(value[2])])),
    Decoder("node.frames:FrameReader.take", take_frames,
            st.lists(st.binary(max_size=50), max_size=4).map(
                lambda each: b"".join(HEADER.pack(len(p), FrameKind.CONSENSUS) + p for p in each)), join_frames),
    Decoder("node.http_api:_parse_wires", parse_msgpack_body,
            st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5).map(encode), encode,
            size_max=LIMITS.body_bytes_max),
    Decoder("node.http_api:_parse_json_wires", parse_json_body,
            st.lists(st.binary(max_size=40), min_size=1, max_size=5).map(
                lambda each: json.dumps({"envelopes": [one.hex() for one in each]}).encode()),
            lambda value: json.dumps({"envelopes": [one.hex() for one in value]}).encode(), canonical=False),
    Decoder("node.http_api:_envelope_id", in_text(_envelope_id), shapes.DIGESTS.map(lambda each: each.hex().encode()),
            lambda value: value.hex().encode(), canonical=False),
    Decoder("node.http_api:_integer", in_text(lambda text: _integer("height", text)),
            st.integers(0, 2**47).map(lambda each: str(each).encode()), lambda value: str(value).encode(),
            canonical=False),
    Decoder("node.home:parse_card", in_text(parse_card), st.just(tomli_w.dumps(card_mapping(CARD)).encode()),
            lambda value: tomli_w.dumps(card_mapping(value)).encode(), canonical=False),
    Decoder("node.config:load_config", in_file("node.toml", load_config), st.just(CONFIG_TOML),
            lambda value: tomli_w.dumps(value.to_mapping()).encode(), canonical=False, size_max=CONFIG_BYTES_MAX),
    Decoder("node.keystore:KeyStore._read", in_file("keys/fuzz.key", lambda home: KeyStore(home).public("fuzz")),
            st.just(KEY_FILE), size_max=KEY_FILE_BYTES_MAX),
    Decoder("node.keystore:_open", in_file("keys/fuzz.key", lambda home: KeyStore(home).unlock("fuzz", b"open")),
            st.just(KEY_FILE), size_max=KEY_FILE_BYTES_MAX),
    Decoder("node.safety_file:SafetyFile._read", in_file("safety", read_safety), st.just(SAFETY_FILE),
            refusals=(Rejected, StorageFailure)),
    Decoder("node.store_records:read_record", lambda data: read_record(7, data), st.just(RECORD),
            lambda value: stored(value), size_max=None),
    Decoder("node.store_records:unpack", unpack, st.lists(st.binary(max_size=30), max_size=5).map(pack),
            refusals=(IndexError,)),
    Decoder("node.store_records:packed_item", packed_items, st.lists(st.binary(max_size=30), max_size=5).map(pack),
            refusals=(IndexError,)),
    Decoder("cli.tape:parse_tape", in_text(parse_tape), st.just(TAPE)),
    Decoder("cli.tape:parse_index", in_text(parse_index), st.just(INDEX)),
    Decoder("cli.tape:parse_price", in_text(parse_price), st.sampled_from([b"60000.00", b"1", b"0.01"])),
    Decoder("cli.contract_actus:load_cases", in_file("cases.json", read_cases), st.just(CASES)),
    Decoder("cli.replay_journal:_lines", in_file(JOURNAL_FILE, read_journal), st.just(JOURNAL)),
    Decoder("cli.proofs.certificate:read_certificate", in_file("c", lambda home: read_certificate(home / "c")),
            st.just(CERTIFICATE), refusals=(Failure,)),
    Decoder("cli.testnet_files:load_testnet", in_file(RECORD_FILE, load_testnet), st.just(TESTNET)),
    Decoder("cli.tx:_parse_line", in_text(lambda text: _parse_line(1, text)),
            st.sampled_from([b'{"kind": "transfer", "fields": {}, "keys": []}', ENVELOPES[0].hex().encode()])),
    Decoder("cli.client:Connection._read", read_answer, st.just(b'{"height": 1}'), refusals=(Rejected, Unreachable)),
)  # fmt: skip
"""Every decoder."""

COVERED: Final = {
    **ACTUS_COVERED,
    "node.batches:BatchFormat._decode": "node.batches:BatchFormat.open",
    "node.http_api:_parse_json": "node.http_api:_parse_json_wires",
    "contracts.operations:parse_change": "contracts.operations:parse_operation",
    "contracts.snapshot:ReplayCheck.expect": "contracts.snapshot:check_slice, whose entries lead to a certified root",
    "node.simulator.scenarios:_split": "a scenario of the simulator, which its user wrote",
    "node.simulator.scenarios:read_scenarios": "a scenario of the simulator, which its user wrote",
    "node.simulator.settings:parse_faults": "an option of the simulator's command",
    "cli.tx:parse_fields": "arguments of the command line: a wrong one is the user's, and click answers it",
}
"""Decoders that are reached through others, or that nobody else can reach, and why that is enough."""


class _Silent:
    """A network nobody hears."""

    connected: frozenset[int] = frozenset()


FETCHER: Final = BlockFetcher(_Silent(), ChainParams(), lambda blocks: None, lambda kind, details: None)  # type: ignore[arg-type]
