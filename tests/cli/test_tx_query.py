"""`tx` and `query` as people and scripts type them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from cli.client import Client
from cli.kinds import NOTES, WORDS
from cli.main import novate
from contracts.operations import KINDS, build_operation
from node.keystore import COST_TESTNET, KeyStore
from tests.cli.stub_chain import StubNetwork, stub_network

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubNetwork]:
    """A stub network, and no keys of the user who runs the tests."""
    monkeypatch.setenv("NOVATE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("NOVATE_PASSPHRASE", raising=False)
    with stub_network(tmp_path / "net") as found:
        yield found


def invoke(network: StubNetwork, *arguments: str) -> Result:
    """Run a command against the stub, with ``--json``."""
    return CliRunner().invoke(novate, [*arguments, "--dir", str(network.testnet.directory), "--json"])


def document(result: Result) -> Any:
    """The one JSON document of a command that went well."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_send_signs_and_returns_the_receipt(network: StubNetwork) -> None:
    """With ``--wait`` the answer is the chain's."""
    sent = document(
        invoke(network, "tx", "send", "asset.register", "asset=BTC", "decimals=8", "--key", "governor", "--wait")
    )
    assert sent["status"] == "applied"
    assert document(invoke(network, "query", "tx", sent["id"])) == sent["receipt"]


def test_send_without_wait_returns_when_it_is_accepted(network: StubNetwork) -> None:
    """And promises no more than that."""
    sent = document(invoke(network, "tx", "send", "asset.register", "asset=BTC", "decimals=8", "--key", "governor"))
    assert (sent["status"], "receipt" in sent) == ("accepted", False)


def test_a_refusal_is_on_both_outputs_and_in_the_exit_code(network: StubNetwork) -> None:
    """The document for programs, the reason for people."""
    result = invoke(network, "tx", "send", "asset.register", "asset=BTC", "decimals=8", "--key", "issuer", "--wait")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["code"] == "not_authorised"
    assert "novate: error [not_authorised]" in result.stderr
    assert "what to do: Sign with a key that holds the role" in result.stderr


def test_a_key_of_ones_own_home_is_found(network: StubNetwork, tmp_path: Path) -> None:
    """`novate keys new` puts it there."""
    home = tmp_path / "own"
    key = KeyStore(home).create("desk", b"secret", COST_TESTNET)
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "secret").chmod(0o600)
    fields = ["member=DESK", f"key={key.public_key.hex()}"]
    document(invoke(network, "tx", "send", "member.admit", *fields, "--key", "governor", "--wait"))
    own = ["--key", "desk", "--home", str(home), "--passphrase-file", str(tmp_path / "secret")]
    opened = document(invoke(network, "tx", "send", "account.open", "account=DESK/hedge", *own, "--wait"))
    assert opened["receipt"]["events"][0]["account"] == "DESK/hedge"


def test_an_unknown_key_is_refused_with_where_it_was_sought(network: StubNetwork) -> None:
    """Three places are searched; the user believed in a fourth."""
    result = invoke(network, "tx", "send", "account.open", "account=M0/x", "--key", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "novate: error [unknown_key]" in result.stderr
    assert str(network.testnet.directory) in result.stderr


def test_a_public_key_may_be_named(network: StubNetwork, tmp_path: Path) -> None:
    """Nobody should copy 64 digits to admit a member; the key itself stays closed."""
    key = KeyStore(tmp_path / "own").create("desk", b"secret", COST_TESTNET)
    words = ["member.admit", "member=DESK", "key=@desk", "--home", str(tmp_path / "own"), "--key", "governor"]
    document(invoke(network, "tx", "send", *words, "--wait"))
    (member,) = document(invoke(network, "query", "members"))["members"]
    assert member["public_key"] == key.public_key.hex()
    missing = invoke(network, "tx", "send", "member.admit", "member=X", "key=@none", "--key", "governor")
    assert "[unknown_key]" in missing.stderr


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        (["tx", "send"], "tr", ["transfer", "trade"]),
        (["tx", "kinds"], "oracle", ["oracle.sample"]),
        (["tx", "send", "transfer", "--dir", "DIR", "--key"], "g", ["governor"]),
        (
            ["tx", "send", "transfer", "--dir", "DIR", "--key", "M0", "--cosign"],
            "oracle",
            ["oracle0", "oracle1", "oracle2"],
        ),
        (["tx", "send", "transfer", "--dir", "DIR", "--home", "nowhere", "--key"], "zz", []),
    ],
)
def test_the_shell_completes_kinds_and_keys(
    network: StubNetwork, words: list[str], incomplete: str, found: list[str]
) -> None:
    """Twenty-five kinds and the keys of three homes are nothing to remember."""
    words = [str(network.testnet.directory) if each == "DIR" else each for each in words]
    completions = ShellComplete(novate, {}, "novate", "_NOVATE_COMPLETE").get_completions(words, incomplete)
    assert [each.value for each in completions] == found


def test_the_kinds_are_all_described() -> None:
    """A kind or a field without words cannot be used without reading the source."""
    assert set(WORDS) == set(KINDS)
    fields = {field.name for kind in KINDS.values() for field in kind.fields}
    assert set(NOTES) == fields
    described = json.loads(CliRunner().invoke(novate, ["tx", "kinds", "--json"]).stdout)["kinds"]
    assert [each["kind"] for each in described] == list(KINDS)
    assert all(each["signed_by"] and each["does"].endswith(".") for each in described)


def test_the_kinds_fit_a_terminal() -> None:
    """One, or all; an unknown one names those that exist."""
    one = CliRunner().invoke(novate, ["tx", "kinds", "trade"]).stdout
    assert "Signed by the buyer's and the seller's members." in one
    assert "quantity_lots" in one
    every = CliRunner().invoke(novate, ["tx", "kinds"]).stdout
    assert all(f"{name}: " in every for name in KINDS)
    assert max(len(line) for line in every.splitlines()) <= 80
    unknown = CliRunner().invoke(novate, ["tx", "kinds", "conjure"])
    assert (unknown.exit_code, "member.admit" in unknown.stderr) == (2, True)


def test_the_help_of_submit_shows_a_line_that_works(network: StubNetwork, tmp_path: Path) -> None:
    """What is printed is tried."""
    shown = CliRunner().invoke(novate, ["tx", "submit", "--help"], terminal_width=100).stdout
    text = shown.partition('{"kind"')[2].partition("(on one line)")[0]
    line = json.loads('{"kind"' + text)
    assert (set(line), set(line["fields"])) == (
        {"kind", "keys", "fields"},
        {field.name for field in KINDS[line["kind"]].fields},
    )


TRANSFER = ["transfer", "source=M0/main", "destination=M1/main", "asset=BTC", "--key", "M0"]


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["tx", "send", "issue", "--key", "issuer"], "unknown_operation]: Did you mean asset.issue?", 2),
        (["tx", "send", "tranfser", "--key", "M0"], "unknown_operation]: Did you mean transfer or trade?", 2),
        (["tx", "send", "x" * 10_000, "--key", "M0"], "unknown_operation]: Kinds are: member.admit", 2),
        (["tx", "send", "elect", "--key", "M0"], "unknown_operation]: Did you mean contract.elect?", 2),
        (["tx", "send", *TRANSFER], "missing_field]", 2),
        (["tx", "send", *TRANSFER, "amount_minor=5", "memo=x"], "unknown_field]", 2),
        (["tx", "send", *TRANSFER, "amount_minor=x"], "malformed]", 2),
        (["tx", "send", "contract.start", "--key", "M0", "parameters=a=1"], "missing_field]", 2),
        (["query", "members", "--url", "garbage"], "bad_url]", 2),
        (["gov", "list", "--url", "garbage"], "bad_url]", 2),
        (["testnet", "up", "--param", "epoch_blocks=0"], "bad_parameter]", 2),
        (["tx", "send", *TRANSFER, "amount_minor=5"], "unknown_key]", 1),
        (["query", "members", "--url", "http://127.0.0.1:9"], "unreachable]", 1),
        (["query", "account", "M9/main"], "unknown_account]", 1),
        (["testnet", "stop", "v9"], "unknown_validator]", 1),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2_and_what_is_refused_1(
    network: StubNetwork, tmp_path: Path, words: list[str], code: str, exit_code: int
) -> None:
    """A script tells its own mistake from the network's by the code; nothing is sent in either case."""
    directory = tmp_path / "new" if "up" in words else network.testnet.directory
    result = CliRunner().invoke(novate, [*words, "--dir", str(directory), "--json"])
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert f"novate: error [{code}" in result.stderr
    assert "what to do: " in result.stderr
    assert network.chain.posts == 0


@pytest.mark.parametrize(
    "words",
    [["contract", command, "no/such"] for command in ("check", "compile", "prove", "explain")]
    + [["tx", "submit", "no/such"], ["verify", "no/such", "--genesis", "no/such"], ["genesis", "show", "no/such"]]
    + [["keys", "new", "x", "--passphrase-file", "no/such"]],
)
def test_a_file_that_is_not_there_is_wrong_usage(words: list[str]) -> None:
    """Whichever command is given it."""
    result = CliRunner().invoke(novate, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "does not exist" in result.stderr or "No such file" in result.stderr


@pytest.mark.parametrize("is_file", [False, True])
def test_a_passphrase_file_that_opens_nothing_is_refused(network: StubNetwork, tmp_path: Path, is_file: bool) -> None:
    """Ignored without a word, also when everybody may read it: who gave it believes that it protects the key."""
    (tmp_path / "secret").write_text("secret\n")
    line = {"kind": "asset.register", "fields": {"asset": "BTC", "decimals": 8}, "keys": ["governor"]}
    (tmp_path / "lines").write_text(json.dumps(line))
    sent = ["send", "asset.register", "asset=BTC", "decimals=8", "--key", "governor"]
    words = ["submit", str(tmp_path / "lines")] if is_file else sent
    result = invoke(network, "tx", *words, "--passphrase-file", str(tmp_path / "secret"))
    assert (result.exit_code, "[unused_passphrase]" in result.stderr) == (2, True)
    assert network.chain.posts == 0


@pytest.mark.parametrize("words", [["asset"], ["=BTC"], ["asset=BTC", "asset=ETH"]])
def test_a_field_that_is_none_is_wrong_usage(network: StubNetwork, words: list[str]) -> None:
    """Exit code 2, before anything is signed."""
    result = invoke(network, "tx", "send", "asset.register", *words, "--key", "governor")
    assert result.exit_code == 2
    assert network.chain.posts == 0


def test_a_file_of_lines_is_submitted_in_order(network: StubNetwork, tmp_path: Path) -> None:
    """Operations to sign and envelopes signed elsewhere may be mixed."""
    with Client(network.urls) as client:
        session = network.session(client)
        wallet = network.testnet.wallet()
        ether = build_operation("asset.register", {"asset": "ETH", "decimals": "18"})
        dollar = build_operation("asset.register", {"asset": "USD", "decimals": "2"})
        signed = [session.sign([wallet.key("governor")], [each]).wire.hex() for each in (ether, dollar)]
    line = {"kind": "asset.register", "fields": {"asset": "BTC", "decimals": 8}, "keys": ["governor"]}
    file = tmp_path / "lines"
    file.write_text(f"{json.dumps(line)}\n\n{signed[0]}\n{json.dumps({'envelope': signed[1]})}\n")
    answer = document(invoke(network, "tx", "submit", str(file), "--wait"))
    assert (answer["submitted"], answer["refused"]) == (3, 0)
    assets = [each["receipt"]["events"][0]["asset"] for each in answer["results"]]
    assert assets == ["BTC", "ETH", "USD"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Line 2 of the file is not JSON"),
        ('{"kind": ' + "[" * 100_000, "Line 2 of the file nests too deeply"),
        ('{"kind": ' + "9" * 5_000 + "}", "Line 2 of the file nests too deeply or holds too long a number"),
        ('{"kind": "transfer"}', "Line 2 of the file has other fields"),
        ("zz", "Line 2 of the file is neither a JSON object nor an envelope in hexadecimal"),
        ("[]", "Line 2 of the file is neither a JSON object nor an envelope in hexadecimal"),
        ('{"envelope": 5}', "Line 2 of the file is neither a JSON object nor an envelope in hexadecimal"),
        ("00", "Line 2: Expected a record of 2 fields"),
        ('{"kind": "conjure", "fields": {}, "keys": ["governor"]}', "Line 2: Kinds are: member.admit"),
        ('{"kind": 5, "fields": {}, "keys": ["governor"]}', "Line 2 of the file has a kind that is not text"),
        ('{"kind": "transfer", "fields": [], "keys": ["governor"]}', "Line 2 of the file needs as fields an object"),
        (
            '{"kind": "transfer", "fields": {"asset": null}, "keys": ["M0"]}',
            "Line 2 of the file needs as fields an object",
        ),
        ('{"kind": "transfer", "fields": {}, "keys": "M0"}', "Line 2 of the file needs as keys a list"),
        ('{"kind": "transfer", "fields": {}, "keys": []}', "Line 2 of the file needs as keys a list"),
        ('{"kind": "account.open", "fields": {"account": "M0/x"}, "keys": ["nobody"]}', "Line 2: There is no key"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_sent(
    network: StubNetwork, tmp_path: Path, line: str, message: str
) -> None:
    """Half a file executed is worse than none."""
    good = {"kind": "asset.register", "fields": {"asset": "BTC", "decimals": 8}, "keys": ["governor"]}
    file = tmp_path / "lines"
    file.write_text(f"{json.dumps(good)}\n{line}\n")
    result = invoke(network, "tx", "submit", str(file), "--wait")
    assert result.exit_code == 1
    assert message in result.stderr
    assert network.chain.posts == 0


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "empty_file"), (b"\n \n", "empty_file"), (b"\xff\xfe{", "bad_line")]
)
def test_a_file_without_a_transaction_is_refused(
    network: StubNetwork, tmp_path: Path, content: bytes, code: str
) -> None:
    """A script whose generator wrote nothing must not be told that all went well."""
    file = tmp_path / "lines"
    file.write_bytes(content)
    result = invoke(network, "tx", "submit", str(file), "--wait")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"[{code}]" in result.stderr


def test_a_file_with_a_refused_envelope_fails_and_shows_every_outcome(network: StubNetwork, tmp_path: Path) -> None:
    """The others stay applied, and the document says which are which."""
    lines = [
        {"kind": "asset.register", "fields": {"asset": asset, "decimals": 8}, "keys": [key]}
        for asset, key in (("BTC", "governor"), ("ETH", "issuer"))
    ]
    file = tmp_path / "lines"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    result = invoke(network, "tx", "submit", str(file), "--wait")
    assert result.exit_code == 1
    assert [each["status"] for each in json.loads(result.stdout)["results"]] == ["applied", "rejected"]
    assert "1 of 2 refused" in result.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["account", "foo"], "written MEMBER/NAME, e.g. M0/main"),
        (["position", "M0/"], "written MEMBER/NAME, e.g. M0/main"),
        (["account", "M0/a/b"], "written MEMBER/NAME, e.g. M0/main"),
        (["block", "-1"], "No such option"),
        (["block", "1,000"], "give a number"),
        (["tx", "abc"], "64 hexadecimal digits"),
        (["tx", "zz" * 32], "no transaction's id: that has 64 hexadecimal digits"),
        (["program", "zz"], "no program's id: that has 64 hexadecimal digits"),
    ],
)
def test_a_name_of_the_wrong_form_is_wrong_usage(network: StubNetwork, words: list[str], reason: str) -> None:
    """The form is said here; a validator could only say that it has no such page."""
    result = invoke(network, "query", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in " ".join(result.stderr.split())


def test_a_name_cannot_leave_its_place_in_the_address(network: StubNetwork) -> None:
    """A slash or a question mark in a name is part of the name."""
    assert "[unknown_index]" in invoke(network, "query", "index", "A?b=c").stderr
    assert "[unknown_account]" in invoke(network, "query", "account", "M0/a?b").stderr


def list_series(network: StubNetwork, names: list[str]) -> None:
    """Have the governor list series."""
    terms = {"strike_ticks": 6_000_000, "expiry_unix_ms": 4_000_000_000_000, "right": "C", "settlement": "inverse"}
    units = {"asset": "BTC", "lot_minor": 10_000_000, "premium_tick_minor": 1_000}
    band = {"tick_decimals": 2, "price_min_ticks": 2_000_000, "price_max_ticks": 20_000_000, "oracle_quorum": 2}
    lines: list[tuple[str, dict[str, Any]]] = [
        ("asset.register", {"asset": "BTC", "decimals": 8}),
        ("index.register", {"index": "BTC_USD", **band}),
        *(("series.list", {"series": name, "index": "BTC_USD", **terms, **units}) for name in names),
    ]
    operations = [build_operation(kind, {name: str(each) for name, each in fields.items()}) for kind, fields in lines]
    with Client(network.urls) as client:
        session = network.session(client)
        session.apply([session.sign([network.testnet.wallet().key("governor")], operations)])


def test_the_readmes_way_to_a_first_trade_works(network: StubNetwork) -> None:
    """A newcomer types it within the first minutes."""
    readme = (ROOT / "README.md").read_text()
    commands = [
        line.removeprefix("$ novate ") for line in readme.replace("\\\n", "").splitlines() if "$ novate " in line
    ]
    for name in ("alice", "bob"):
        KeyStore(network.testnet.directory).create(name, b"stub", COST_TESTNET)
    for command in commands:
        if command.startswith(("tx", "query")):
            shown = document(invoke(network, *command.replace("docs/", f"{ROOT}/docs/").split()))
    assert shown["positions"] == [{"series": "BTC-31DEC99-60000-C", "lots": 1}]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("account", "M0/main", "--out", "proof.json"), "--out"),
        (("account", "M0/main", "--trust-height", "5"), "--trust-height"),
        (("position", "M0/main", "--series", "BTC-31DEC99-60000-C"), "--series"),
        (("series", "--out", "proof.json"), "--out"),
        (("index", "BTC_USD", "--trust-height", "5"), "--trust-height"),
        (("settlement", "BTC_USD", "1", "--account", "M0/main"), "--account"),
    ],
)
def test_what_concerns_a_proof_is_refused_without_one(
    network: StubNetwork, words: tuple[str, ...], option: str
) -> None:
    """An answer that ignored it would pass for a proof, or for the part that was asked for."""
    result = invoke(network, "query", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{option} goes with --prove." in result.stderr


def test_no_evidence_is_said_of_each_list_by_its_name(network: StubNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lines that all say \"Evidence: none\" tell nobody what there is none of."""
    answer = {"waiting": [], "punished": [{"validator": "v3", "view": 7}], "jailed": []}
    monkeypatch.setattr(network.chain, "_answer", lambda path, after: answer)
    shown = CliRunner().invoke(novate, ["query", "evidence", "--url", network.urls[0]]).stdout
    assert "Evidence, waiting: none\n" in shown
    assert "Evidence, punished\n" in shown
    assert "Jailed: none\n" in shown


def test_every_series_is_listed_page_by_page(network: StubNetwork) -> None:
    """A validator answers a page at a time, and nobody asks for the rest by hand."""
    names = ["BTC-31DEC99-50000-C", "BTC-31DEC99-60000-C", "BTC-31DEC99-70000-C"]
    list_series(network, names)
    network.chain.page_size = 1
    listed = document(invoke(network, "query", "series"))
    assert [each["series"] for each in listed["series"]] == names
    shown = CliRunner().invoke(novate, ["query", "series", "--dir", str(network.testnet.directory)]).stdout
    assert all(name in shown for name in names)
    assert "4000000000000" in shown
    assert document(invoke(network, "query", "series", names[1]))["strike_ticks"] == 6_000_000


def test_every_index_is_listed_page_by_page(network: StubNetwork) -> None:
    """As series and members are: who does not know the names has nothing to ask for."""
    band = ["tick_decimals=2", "price_min_ticks=1", "price_max_ticks=9", "oracle_quorum=2"]
    for name in ("ETH_USD", "BTC_USD"):
        document(invoke(network, "tx", "send", "index.register", f"index={name}", *band, "--key", "governor", "--wait"))
    network.chain.page_size = 1
    listed = document(invoke(network, "query", "index"))
    assert [each["index"] for each in listed["indices"]] == ["BTC_USD", "ETH_USD"]
    assert listed["indices"][0] == document(invoke(network, "query", "index", "BTC_USD"))
    assert invoke(network, "query", "index", "--prove").exit_code == 2


def test_pages_that_do_not_go_forward_are_refused(network: StubNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validator's fault must not keep its client busy for ever."""
    monkeypatch.setattr(network.chain, "_answer", lambda path, after: {"series": [], "next": "A"})
    result = CliRunner().invoke(novate, ["query", "series", "--url", network.urls[0]])
    assert (result.exit_code, "[bad_answer]" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["account", "M9/main"], "unknown_account"),
        (["series", "NONE"], "unknown_series"),
        (["index", "NONE"], "unknown_index"),
        (["tx", "00" * 32], "unknown_route"),
    ],
)
def test_what_the_chain_does_not_know_is_a_failure(network: StubNetwork, words: list[str], code: str) -> None:
    """Exit code 1 and nothing on standard output, so that a script cannot mistake it for an answer."""
    result = invoke(network, "query", *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"[{code}]" in result.stderr


def test_people_get_tables(network: StubNetwork) -> None:
    """Every kind of answer is shown without JSON: fields, rows, nested values, nothing at all."""
    directory = ["--dir", str(network.testnet.directory)]
    document(
        invoke(network, "tx", "send", "member.admit", "member=M0", f"key={'ab' * 32}", "--key", "governor", "--wait")
    )
    members = CliRunner().invoke(novate, ["query", "members", *directory])
    assert "public_key" in members.stdout
    assert "M0" in members.stdout
    empty = CliRunner().invoke(novate, ["query", "series", *directory])
    assert "Series: none." in empty.stdout


def test_a_url_is_enough_to_query(network: StubNetwork) -> None:
    """A validator elsewhere has no testnet's directory here."""
    result = CliRunner().invoke(novate, ["query", "members", "--url", network.urls[0], "--json"])
    assert json.loads(result.stdout) == {"members": []}
