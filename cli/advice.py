"""What to do about each refusal, by its code.

The rule that was broken, and the values that were compared, are in the refusal itself; here is the next step, in one
or two sentences, for every code that a command can meet. A refusal that only validators give each other has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SIGN_AGAIN: Final = "Sign it again for this chain; `novate tx send` and `tx submit` do so by themselves."
_TAPE: Final = "Correct that place in the file; `novate replay --help` names the columns."
_GENESIS: Final = "Correct the file, or create it again with `novate genesis create`."
_NAMES: Final = "Use another name; `novate query` shows what exists."
_PROOF: Final = "Do not believe it. Ask another validator for the proof."
_LATER: Final = "Try again in a moment; the network is busy."
_LANGUAGE_SEE: Final = "docs/CONTRACTS.md, section 1, states the language, and contracts/library has examples."
_LANGUAGE: Final = "Correct that place; " + _LANGUAGE_SEE

ADVICE: Final[Mapping[str, str]] = {
    # Keys, passphrases, files.
    "wrong_passphrase": "Check NOVATE_PASSPHRASE or --passphrase-file; if the key file is damaged, restore it.",
    "no_passphrase": "Set NOVATE_PASSPHRASE, give --passphrase-file, or run it on a terminal.",
    "unused_passphrase": "Leave --passphrase-file out, or sign with the key that it opens; --home says where that is.",
    "bad_passphrase": "Choose a passphrase that is neither empty nor that long.",
    "unknown_key": "See `novate keys list`, or make one with `novate keys new NAME`; --home says where.",
    "no_key_home": "Give the directory that holds keys/ with --home, or make a key there with `novate keys new NAME`.",
    "key_exists": "Choose another name; keys are never overwritten.",
    "exposed_file": "Run `chmod 600` on the file, and consider the secret known to others.",
    "tampered_key": "Restore the key file from a backup.",
    "file_exists": "Choose another path, or move the file away.",
    "system": "Check the path, its permissions and the free space.",
    # Pricing.
    "price_file": "Correct the file; `novate price --help` names its columns, with - for _.",
    "price_row": "Correct that; `novate price --help` lists every option, `novate price mc --help` what is simulated.",
    "pricing_range": "Give a value within the range.",
    "pricing_shape": "Give columns of one length.",
    "no_implied_volatility": "Give a price between what no volatility and an endless one make of the option.",
    "correlation_shape": "Give one row and one column for each underlying.",
    "correlation_range": "Give correlations from -1 to 1, symmetric.",
    "not_positive_definite": "Bring the correlations nearer to 0, or leave out an underlying that others determine.",
    "sobol_dimensions": "Take fewer fixings, or --sampler philox.",
    "payoff_terms": (
        "Correct what it names: terms are from 0 to 2^50 ticks; `novate contract check FILE` lists a contract's inputs."
    ),
    "monte_carlo_range": "Correct that; `novate price mc --help` lists every option.",
    "payout_range": "Take fewer --ticks-per-unit.",
    "shard_range": "Take the shards from the job itself.",
    "shards_incomplete": "Run the missing shards; every scenario counts once.",
    "sample_range": "Sample among the results that there are.",
    "margin_range": "Correct that value of the portfolio or the scenarios.",
    "margin_overflow": "Take fewer ticks per unit, or divide the portfolio.",
    "cluster_extra": "Install it: pip install 'novate[cluster]'.",
    "cluster_address": "Start the scheduler with --protocol tls, and give the address that it prints.",
    "cluster_unreachable": "Check the address, and that both sides trust each other's certificates (--tls-trusted).",
    "cluster_failed": "See the workers' logs; they must run this version of Novate. Then run it again.",
    "cluster_answer": "Do not use the result. Find the worker that made it up, or runs another version.",
    "bad_cluster_key": "Give the files that `novate price keys FOLDER` wrote.",
    # A validator's home.
    "no_node_home": "Make one with `novate node init --home DIR`.",
    "bad_config": "Correct node.toml in the validator's home, or repeat `novate node init` with the right options.",
    "no_genesis": "Install it with `novate node init --home DIR --genesis FILE`.",
    "not_a_validator": (
        "Run it from the home whose keys the genesis document names, or create the genesis again. A validator that is "
        "to join a running chain gives --join."
    ),
    "wrong_certificate": "Create the genesis document again from the validator.toml that this home has now.",
    "bad_address": "Write it HOST:PORT, e.g. 127.0.0.1:26600.",
    "halted": "Its log says what to do; do not merely start it again. `novate testnet status` compares the roots.",
    "storage_failure": "Repair the disk; a validator without data/ledger fetches it anew, but keep data/safety.",
    "cannot_listen": (
        "Stop the process that uses the address (`ss -ltnp` shows it; an older testnet may still run), or choose "
        "another one with `novate node init --home DIR` and --listen or --http."
    ),
    "already_running": "Stop the other process first; a second home needs keys of its own.",
    "bad_card": "Give the validator.toml that `novate node init` wrote, or name=,key=,address=,cert= text.",
    "bad_certificate": "Give the certificate of a validator.toml that `novate node init` wrote.",
    "corrupt_safety_file": "Never copy one from elsewhere. See the message before deleting anything.",
    "genesis_installed": "A home serves one chain under one name; make another with `novate node init --home OTHER`.",
    "bad_genesis": _GENESIS,
    "bad_parameter": (
        "Give a value in the range that the message names: of a contract (`novate contract check FILE` lists all), or "
        "of the chain (--param, the [params] table of the genesis document)."
    ),
    "bad_state": "The ledger on disk cannot be read: move data/ledger of its home away (not data/safety), start again.",
    "wrong_safety_format": "Run the version that wrote it; a new version needs a new chain, and so a new home.",
    "wrong_store_format": "Run the version that wrote it, or move data/ledger of its home away (not data/safety).",
    # A signer.
    "no_signer_home": "Make one with `novate signer init --home DIR --node HOME`.",
    "inside_the_home": "Give --home a directory outside the validator's, and not above it.",
    "key_elsewhere": "Give the directory that the key was moved to: node.toml names that signer's socket.",
    "signer_has_the_key": "Make it there: `novate signer new-key --home SIGNER`, then start the signer again.",
    "no_signer": "Start it with `novate signer run --home DIR`; `--socket` says where it listens.",
    "lost_mark": (
        "Nothing tells what this key has signed: give the validator a new key (`novate signer new-key`). Never put an "
        "old mark back."
    ),
    "silent_key": "`novate signer status` says what is wrong with this key's mark; its other keys sign.",
    "wrong_place": "Ask again: the signer was started anew meanwhile, with other keys.",
    "wrong_mark": "Put every mark back beside its own key; a mark that is lost is not replaced by another.",
    "too_many_keys": "Move the files of retired keys, all but consensus.key, out of the directory; keep their marks.",
    "wrong_mark_format": "Run the version that wrote it; a new version needs a new chain, and so a new key's signer.",
    "corrupt_signer_mark": "Never copy one from elsewhere. See the message before deleting anything.",
    "lost_safety_state": "Run the validator until its /v1/ready answers 200, stop it, and repeat the command.",
    "wrong_key": "Give the directory of the signer that has this validator's key.",
    "wrong_version": "Run node and signer of one release.",
    "no_hello": "Run node and signer of one release.",
    "second_hello": "Run node and signer of one release.",
    "wrong_user": "Run node and signer as one user.",
    "signed_otherwise": "This key signs elsewhere too: find that process or directory, and stop it for good.",
    "bad_socket": "Choose another path with --socket; see `novate signer init --help`.",
    "exposed_directory": "Run `chmod 700` on the directory, or choose another one with --socket.",
    # Reaching validators.
    "unreachable": "See `novate testnet status` and start what is down with `novate testnet up`, or correct --url.",
    "no_validators": "Give --url http://HOST:PORT, or --dir with a testnet's directory.",
    "bad_url": "Give the address as `novate testnet status --json` shows it.",
    "not_ready": "Wait until a quorum of validators runs and is connected; `novate testnet status` shows them.",
    "busy": _LATER,
    "mempool_full": _LATER,
    "disconnected": _LATER,
    "too_slow": "The connection is too slow for so much at once; send less in one file.",
    "bad_wait": "Ask for a shorter wait.",
    "unsupported_media_type": "Use the client of the same version as the validators.",
    "unknown_route": "Check the name; if it is right, the validators are of another version than this client.",
    "unknown_method": "Use the client of the same version as the validators.",
    "bad_answer": "Ask another validator with --url, and tell the developers.",
    "bad_limit": "Use the client of the same version as the validators.",
    "bad_request": "Check that --url is a validator's address, and the name that was asked for.",
    "wrong_kernels": (
        "Peers would refuse it. Install exactly the pinned versions (`make setup`), empty the cache of kernels "
        "(NUMBA_CACHE_DIR or __pycache__/kernels), unset what alters arithmetic (NUMBA_*, LD_PRELOAD)."
    ),
    "wrong_chain": "Check --dir or --url: what you have belongs to another chain. " + _SIGN_AGAIN,
    # Testnets on this machine.
    "no_testnet": "Check --dir, or start one with `novate testnet up`; --url asks a validator that is in no testnet.",
    "bad_testnet": "Delete the directory and start again with `novate testnet up`.",
    "testnet_busy": "Wait until that command has ended.",
    "testnet_exists": "Give another --dir, or go on with the testnet that is there.",
    "bad_validators": "Choose a number in that range.",
    "unknown_validator": "Name one of those that exist; `novate query validators` and `testnet status` list them.",
    "validator_died": "Repair what its log names, then repeat the command, or `novate testnet restart NAME`.",
    "no_ports": "End programs that listen on this machine, or ask for fewer --validators.",
    "port_taken": "Stop that process; an older testnet may still run: `novate testnet down` in its --dir.",
    "below_quorum": "Start what is down with `novate testnet up`; more than two thirds of the power must run.",
    "differing_roots": "Stop trusting this chain and keep its data: look for the first block whose roots differ.",
    "not_conserved": "Keep the testnet's directory: compare the members' totals with the tape.",
    "generator_died": "See the message above it; too little memory is the usual reason. Try fewer --seconds.",
    "bad_settings": "See `novate sim --help`.",
    "bad_scenario": "See docs/TESTING.md for the form of a scenario.",
    # Looking something up.
    "unknown_account": "See `novate query members`; a member opens more with `tx send account.open`.",
    "unknown_asset": "Register it with `tx send asset.register`, signed by the governor.",
    "unknown_index": "See `novate query index`. Register it with `tx send index.register`, signed by the governor.",
    "unknown_series": "See `novate query series`; the governor lists more with `tx send series.list`.",
    "unknown_member": "See `novate query members`; the governor admits more with `tx send member.admit`.",
    "unknown_expiry": "Give one that the message names; of a chain, `novate query series` shows its expiries.",
    "unknown_settlement": "See `novate query series` for the expiries there are; one settles after its expiry.",
    "unknown_block": "See `novate query block` for the latest; a validator that catches up has it later.",
    "unknown_transaction": (
        "Ask again if it was sent a moment ago. Where the refusal names a lowest_height, first ask a validator that "
        "keeps all blocks, with --url. Send it anew only after its expires_at_unix_ms, and only if none of them has it."
    ),
    "unknown_table": "The message names the tables; docs/PROTOCOL.md, R1, says what their keys are.",
    "pruned": "Ask an archive with --url; this validator keeps blocks from lowest_height on.",
    # Proofs.
    "not_certified": "Ask again; if it recurs, the chain stands still: see `novate testnet status`.",
    "not_json": "Give the file that `novate query` wrote with --prove --out FILE.",
    "bad_proof": "Do not believe it. Ask another validator for the proof.",
    "altered_document": "Do not believe it: it was changed after the proof was made. Ask for the proof again.",
    "foreign_certificate": _PROOF,
    "phantom_validators": "Do not believe it: these are not the chain's validators. Check the genesis document.",
    "no_quorum": _PROOF,
    "retired_validators": "Do not believe it: a set of validators that is over signed it. Ask another validator.",
    "outside_epoch": _PROOF,
    "skipped_transition": "Ask another validator: the proof leaves out a change of the validators.",
    "forged_transition": _PROOF,
    "superfluous_transition": _PROOF,
    "bad_start": "Trust the block that the proof starts from, or ask without --trust-height.",
    "no_start": "Ask for the proof with --trust-height and the height that you trust.",
    "unknown_epoch": "See `novate query epochs` for the sets that are kept; a proof's epoch must be a trusted one.",
    "transitions_not_kept": "Ask a validator that keeps more, or name a later --trust-height.",
    "too_many_transitions": "Name a later --trust-height: a block from within the epochs that are shown.",
    "too_far_from_edge": "Name another --trust-height: the first block of an epoch (see `novate query epochs`).",
    "below_trusted_height": "Ask for a proof of the present state; keys of the past may be in anyone's hands.",
    "untrusted_block": "Do not believe it, and find out where the trusted hash came from: one of the two is false.",
    "not_settled": "Ask again after the expiry; without enough samples the governor sends `settlement.declare`.",
    # Writing and signing a transaction.
    "unknown_operation": "`novate tx kinds` lists every kind with its fields.",
    "unknown_field": "`novate tx kinds KIND` lists its fields.",
    "missing_field": "`novate tx kinds KIND` lists its fields.",
    "malformed": "Correct it as the message says; `novate tx kinds` says how the fields of transactions are written.",
    "bad_line": "`novate tx submit --help` shows the format of a line. Nothing was sent.",
    "empty_file": "`novate tx submit --help` shows the format of a line.",
    "not_whole_units": "Round it yourself; `novate query index NAME` and `query account` show the decimals.",
    "unknown_unit": "Write AMOUNT:INDEX or AMOUNT:ASSET with one of the feeds or assets, or ticks and minor units.",
    "too_large": "Send less in one file or one transaction.",
    "too_many_operations": "Split it into several transactions.",
    "bad_signature": "Sign it again; the bytes were changed, or the key is another.",
    "signature_count": "Sign it again, once with every key.",
    "duplicate_signer": "Name every key once.",
    "expired": "If it was sent before, ask `novate query tx ID` first. Then sign it again, as `novate tx send` does.",
    "lifetime_too_long": "Sign it with an earlier expiry, and check this machine's clock.",
    "replayed": "Nothing: it was executed once. See `novate query tx ID`.",
    "no_receipt": "Ask `novate query tx ID` later; until it expires it may be executed.",
    "interrupted": "What never left moved nothing, and may be sent again.",
    "refused": "See `novate query tx ID`.",
    # What the chain refuses.
    "unknown_signer": "Have the governor admit the member with `tx send member.admit`, or sign with another key.",
    "not_authorised": (
        "Sign with a key that holds the role (a testnet has governor, issuer, oracle0 to oracle2), or whose act it is."
    ),
    "missing_signature": "Add the member's key: --key NAME sends, and every --cosign NAME signs too.",
    "insufficient_funds": "Fund the account with `tx send asset.issue` or `transfer`; see `novate query account`.",
    "insufficient_collateral": "Fund the account first, trade fewer lots, or close positions; see `query account`.",
    "same_account": "Name two different accounts.",
    "already_exists": _NAMES,
    "key_taken": "Make another key with `novate keys new`; one key signs for one member or role.",
    "bad_account": "Write it MEMBER/NAME with the signing member's name, e.g. M0/hedge.",
    "bad_band": "Give a price_min_ticks that is not above price_max_ticks.",
    "bad_quorum": "Give an oracle_quorum of at most the chain's oracles; `novate genesis show` lists them.",
    "bad_expiry": "Give an expiry_unix_ms after the chain's present; `novate query block` shows its time.",
    "collateral_limit": "Give the index a narrower band, or the series a smaller lot.",
    # Contracts.
    "block_full": "Send it again; the next block has room. Fewer contract operations at a time get through sooner.",
    "too_many_events": "Split the operations over several transactions.",
    "unknown_contract": (
        "See `novate query contract` for those there are. Closed ones leave after contract_retention_blocks; "
        "docs/CONTRACTS.md, section 6, says where their history stays."
    ),
    "not_held": "`novate query program ID` says who holds it; only they can give it up.",
    "unknown_program": "Store it first: `novate contract compile FILE`, then `tx send program.store`.",
    "unknown_election": "`novate contract check FILE` lists the elections of a contract.",
    "already_elected": "An election is made once; `novate query entry contracts NAME` shows what was settled.",
    "contract_closed": "It has paid and is over; start another one with `tx send contract.start`.",
    "not_open": "Elect within the window that the message names.",
    "bad_binding": (
        "Give one account, asset and index for each that `novate contract check FILE` lists, and an index whose prices "
        "lie in the range that the program takes."
    ),
    "limit_reached": (
        "Free what is no longer used (of programs: `tx send program.remove`), wait for closed contracts to leave the "
        "state, or have the limit raised: it is a chain parameter. Where a name's place is full, choose another."
    ),
    "position_limit": "Trade fewer lots, or from another account.",
    "supply_limit": "Issue less.",
    "series_expired": "Trade a series that expires later; see `novate query series`.",
    "duplicate_sample": "Nothing: the oracle's price of this instant is known.",
    "sample_in_future": "Report it when block time has reached it; `novate query block` shows block time.",
    "sample_too_old": "Report newer instants; on a testnet, check --replay-from and --speed.",
    "price_out_of_band": "Check the price and its ticks; `novate query index` shows the band.",
    "settlement_not_due": "Wait: the governor decides only when the oracles' price has failed.",
    "coverage_suffices": "Nothing: the oracles' price stands; see `novate query settlement`.",
    "settlement_decided": "Nothing: see `novate query settlement`.",
    "quarantined": "Leave this market alone and tell the developers; every other market goes on.",
    # Governance, bonds, evidence.
    "unknown_proposal": "See `novate gov list`; it may have expired, or its change is done.",
    "ambiguous_proposal": "Give more digits of the id; `novate gov list` shows them all.",
    "already_proposed": "Approve that one with `novate gov approve`.",
    "already_approved": "Nothing: the next edge of an epoch carries it out; see `novate gov list`.",
    "already_signed": "Nothing: this validator's approval counts; ask the others, see `novate gov list`.",
    "jailed": "Only the other validators can decide now; after the next edge they may add it again.",
    "no_change": "Nothing: see `novate query validators`.",
    "certificate_taken": "Give the certificate of that validator's own validator.toml.",
    "empty_set": "Add another validator first.",
    "too_much_change": "Propose a smaller change, or wait for the next edge; see `novate query epochs`.",
    "insufficient_bond": "See `novate query validators` for the deposits there are.",
    "no_contradiction": "Nothing: the two statements are the same one.",
    "evidence_ahead": "Check the epoch, and that the evidence is of this chain.",
    "evidence_too_old": "Nothing: evidence is taken for `evidence_epochs` epochs alone.",
    "already_punished": "Nothing: somebody else was faster.",
    "wrong_proposal": "Stop trusting that validator: it shows another change than the id stands for. Ask another.",
    # Replaying a tape.
    "bad_tape": _TAPE,
    "bad_price": "Write it like 63486.06.",
    "mixed_assets": "Split the tape, one underlying a file.",
    "too_late": "Start the testnet as the message says, and replay at once.",
    "replay_interrupted": "Run the same command again: it goes on from there, and does nothing twice.",
    "long_wait": "Start the testnet as the message says, and replay there; or give --wait-max.",
    "receipts_gone": "Stop that validator for the time of the replay, and run the same command again.",
    "foreign_positions": "Start a fresh testnet in another --dir, and replay there; see `novate query position`.",
    "trade_refused": "Look at both accounts with `novate query account`; a fresh testnet replays from the start.",
    "conflicting_setup": "Start a fresh testnet in another --dir.",
    "price_outside_band": "Start a fresh testnet: the band of an index is fixed by its first replay.",
    # Contracts.
    "bytecode": "Give the text that it was compiled from; `novate query program ID` shows a stored program.",
    "no_plain_file": "Give the path of a file, or - for standard input where the command takes it.",
    "silent_pipe": "Look at what writes to the pipe; or write it to a file first, and give that.",
    "source_too_large": "Shorten it: leave out comments, or make it two contracts.",
    "bad_text": _LANGUAGE,
    "bad_syntax": _LANGUAGE,
    "too_deep": "Name an inner part with `let`, and use the name.",
    "too_many": "Use fewer of them, or make it two contracts.",
    "too_few": "Declare one; " + _LANGUAGE_SEE,
    "unknown_name": "Declare it before it is used, or correct its spelling.",
    "name_taken": "Choose another name.",
    "not_yet_known": "Move it into that block, or let it follow from parameters.",
    "wrong_type": "Convert it as the section on types says: docs/CONTRACTS.md, section 1.",
    "no_type": "Give the number a unit or a type, as the message says.",
    "bad_rounding": "Say how to round where something is divided, and nowhere else.",
    "bad_range": "Correct the range, as the message says.",
    "not_reached": "Remove it, or the `close` before it.",
    "no_close": "Add `close` as the last statement.",
    "never_used": "Wait for it with `when`, or remove its declaration.",
    "program_too_long": "Look at fewer prices, or make it two contracts.",
    "bad_program": "Narrow the ranges, or bound the value with `min` and `max`; docs/CONTRACTS.md, section 3.",
    "gas_limit": "Make the program shorter: its gas is the sum over its instructions.",
    "bad_window": "Let it end after it opens: look at the parameters that are times.",
    "bad_input": "Give it a value within its range; `novate contract check FILE` lists the inputs.",
    "not_word_sized": "Narrow the ranges of its parameters and observations.",
    "no_payoff": "Leave the payoff out, or ask for fewer points.",
    "no_proofs": "Install the extra `proofs`: pip install 'novate[proofs]'.",
    "too_many_paths": "Join conditions with `if ... then ... else` in expressions, or shorten the longest window.",
    "other_program": "Prove this contract, or give the file from which the certificate was made.",
    "bad_proof_certificate": "Give a file that `novate contract prove --certificate` wrote.",
    "bad_date": "Write it like 2020-03-30T00:00:00.",
    "bad_period": "Write it like P3D, P2W or P1Y6M.",
    "bad_decimal": "Write it like 63.70, with no more places than the message says.",
    "bad_terms": "Correct the file: docs/CONTRACTS.md, section 7, says what is read of ACTUS terms.",
    "not_supported": "Leave the case out: docs/CONTRACTS.md, section 7, says which ACTUS terms are supported.",
    "no_observation": "Add the price of that time to dataObserved.",
    "out_of_band": "Provide for it with --price-max.",
    "no_plots": "Install the extra `plots`, or leave --png out: the terminal draws the payoff too.",
}
"""What to do about a refusal, by its code."""


def advice_for(code: str) -> str:
    """What to do about a refusal of this code; empty where nothing is known."""
    if code.startswith("http_"):
        return "Check that --url is the address of a validator of this version."
    return ADVICE.get(code, "")
