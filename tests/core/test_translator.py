"""From what the primary has executed to what enters the secondary stream."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from dualkv.core.context import Context
from dualkv.core.dialect import learn
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.primary_time import PrimaryTime
from dualkv.core.routing import plan_of
from dualkv.core.transaction import Transaction
from dualkv.core.translator import Asked, Translation, Translator
from dualkv.resp import encode
from dualkv.resp.requests import RequestParser
from tests.core.building import planned

NOW = 100.0
"""On our clock, in seconds; the primary's is the same."""
NOW_MS = 100_000
EXEC = plan_of((b"EXEC",))
ERROR = encode.error("WRONGTYPE no")
NO_EXPIRY = encode.integer(-1)
GONE = encode.integer(-2)


@pytest.fixture
def translator() -> Translator:
    """Return one for a secondary of which nothing is known, 10 s behind at most."""
    return Translator(PrimaryTime(0.0), lag_seconds=10)


def sent(item: StreamItem | None) -> list[str]:
    """Return the requests that the secondary gets, as lines."""
    if item is None:
        return []
    return [
        b" ".join(request.args).decode(errors="backslashreplace")
        for request in RequestParser().feed(item.request.raw)
    ]


def told(translation: Translation) -> tuple[list[str], list[tuple[int, bytes]]]:
    """Return what the secondary gets, and the keys to copy."""
    return sent(translation.item), list(translation.copies)


def run(
    translator: Translator, line: str, reply: bytes, *answers: bytes, db: int = 0, now: float = NOW
) -> tuple[list[str], list[tuple[int, bytes]]]:
    """Have *line* asked for and translated, with answers to what was asked behind it."""
    plan, request = planned(*line.split())
    asked = translator.ask(plan, request.args, db, now)
    assert len(asked.wires) == len(answers), asked
    return told(translator.translate(plan, request, reply, now, Context(db=db), asked, list(answers)))


def run_transaction(
    translator: Translator, *queued: tuple[str, bytes], answers: Sequence[bytes] = (), db: int = 0
) -> Translation:
    """Have a transaction of lines with their results asked for and translated."""
    commands = [planned(*line.split()) for line, _ in queued]
    asked = translator.ask_transaction(commands, db, NOW)
    assert len(asked.wires) == len(answers), asked
    results = [result for _, result in queued]
    return translator.translate_transaction(
        EXEC, commands, results, NOW, Context(db=db), Transaction(commands).wire(), asked, answers
    )


# --- one command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("SET a 1", encode.OK, ["SET a 1"]),
        ("SET a 1 EX 10", encode.OK, [f"SET a 1 PXAT {NOW_MS + 10_000}"]),
        ("SPOP s", encode.bulk("m"), ["SREM s m"]),
        ("DEL a", encode.integer(1), ["DEL a"]),
        ("EXPIRE a 10", encode.integer(1), [f"PEXPIREAT a {NOW_MS + 10_000}"]),
        ("EXPIRE a 10", encode.integer(0), []),
        ("SET a 1 NX", encode.null(2), []),
        ("LPOP l", encode.null(3), []),
        ("PUBLISH c m", encode.integer(0), ["PUBLISH c m"]),
        ("FLUSHALL", encode.OK, ["FLUSHALL"]),
        ("SCRIPT FLUSH", encode.OK, ["SCRIPT FLUSH"]),
    ],
)
def test_effect_is_what_the_primary_did(
    translator: Translator, line: str, reply: bytes, expected: list[str]
) -> None:
    """Absolute, by value, and nothing for what had no effect."""
    assert run(translator, line, reply) == (expected, [])


def test_item_remembers_where_when_and_for_which_queue(translator: Translator) -> None:
    """What enters the stream has its database and its time."""
    plan, request = planned("SET", "a", "1")
    item = translator.translate(plan, request, encode.OK, NOW, Context(db=7)).item

    assert item is not None
    assert (item.queue, item.offered_at, item.context.db, item.plan) == (Queue.WRITE, NOW, 7, plan)


def test_request_that_is_its_own_effect_is_checked_by_its_reply(translator: Translator) -> None:
    """An equal store answers the same to LPUSH; to SET, anything but an error."""
    push = translator.translate(
        *planned("RPUSHX", "l", "x"),
        encode.integer(4),
        NOW,
        Context(),
        Asked((b"",), (0,), (b"l",)),
        [NO_EXPIRY],
    ).item
    assert push is not None
    assert push.check == encode.integer(4)

    assign = translator.translate(*planned("SET", "a", "1"), encode.OK, NOW, Context()).item
    assert assign is not None
    assert assign.check is None


def test_unknown_command_is_copied(translator: Translator) -> None:
    """Nobody knows what it did: the state of the keys that it names is copied."""
    assert run(translator, "INCREX k", encode.bulk("x"), db=3) == ([], [(3, b"k")])


# --- expiry: hazards -----------------------------------------------------------------------------------


def test_expiry_is_asked_for_behind_what_may_create_a_key(translator: Translator) -> None:
    """Of a key that nobody knows, once; then it is known for a while."""
    plan, request = planned("INCR", "n")
    assert translator.ask(plan, request.args, 0, NOW).wires == (encode.command("PEXPIRETIME", "n"),)
    run(translator, "INCR n", encode.integer(1), NO_EXPIRY)

    assert translator.ask(plan, request.args, 0, NOW + 5) == Asked((), (0,), ())
    assert translator.ask(plan, request.args, 1, NOW + 5).expiry_of == (b"n",)
    assert translator.ask(plan, request.args, 0, NOW + 11).expiry_of == (b"n",)


@pytest.mark.parametrize("line", ["DEL a", "SET a 1", "EXPIRE a 10", "LPOP l", "SREM s m", "GET a"])
def test_nothing_is_asked_where_no_key_can_come_back(translator: Translator, line: str) -> None:
    """What removes, or sets a key as a whole, needs no question."""
    plan, request = planned(*line.split())

    assert translator.ask(plan, request.args, 0, NOW).wires == ()


@pytest.mark.parametrize(
    ("answer", "expected", "copies"),
    [
        (NO_EXPIRY, ["SET n 5 KEEPTTL"], []),
        (encode.integer(NOW_MS + 60_000), ["SET n 5 KEEPTTL"], []),
        (
            encode.integer(NOW_MS + 1_000),
            ["MULTI", "SET n 5 KEEPTTL", f"PEXPIREAT n {NOW_MS + 1_000}", "EXEC"],
            [],
        ),
        (GONE, [], [(0, b"n")]),
        (encode.error("NOPERM no"), [], [(0, b"n")]),
    ],
)
def test_effect_does_not_bring_back_a_part_of_an_expired_key(
    translator: Translator, answer: bytes, expected: list[str], copies: list[tuple[int, bytes]]
) -> None:
    """A key that ends soon gets its expiry again behind the effect; one that is gone already is copied."""
    assert run(translator, "INCR n", encode.integer(5), answer) == (expected, copies)


def test_key_that_was_created_anew_does_not_inherit_the_old_expiry(translator: Translator) -> None:
    """It had an expiry and has none now, though nothing in the log removed it: it is another key."""
    soon = encode.integer(NOW_MS + 1_000)
    run(translator, "INCR n", encode.integer(5), soon)

    assert run(translator, "INCR n", encode.integer(1), NO_EXPIRY, now=NOW + 2) == ([], [(0, b"n")])


def test_sliding_expiry_is_known_from_the_log(translator: Translator) -> None:
    """EXPIRE says when a key ends; a write shortly before is guarded by it."""
    run(translator, "EXPIRE n 2", encode.integer(1))

    assert run(translator, "INCR n", encode.integer(5), encode.integer(NOW_MS + 2_000), now=NOW + 1) == (
        ["MULTI", "SET n 5 KEEPTTL", f"PEXPIREAT n {NOW_MS + 2_000}", "EXEC"],
        [],
    )


@pytest.mark.parametrize("line", ["SET n 1", "DEL n", "GETSET n 1"])
def test_key_that_was_written_anew_does_not_expire(translator: Translator, line: str) -> None:
    """What was known of its expiry is over, and nobody has to be asked."""
    run(translator, "EXPIRE n 2", encode.integer(1))
    run(translator, line, encode.integer(1) if line.startswith("DEL") else encode.OK)
    plan, request = planned("INCR", "n")

    assert translator.ask(plan, request.args, 0, NOW).expiry_of == ()
    assert run(translator, "INCR n", encode.integer(2)) == (["SET n 2 KEEPTTL"], [])


def test_expiry_goes_with_a_key_to_its_new_name(translator: Translator) -> None:
    """RENAME takes it along; what is called as before does not expire."""
    run(translator, "EXPIRE n 2", encode.integer(1))
    run(translator, "RENAME n m", encode.OK)
    old, new = planned("INCR", "n"), planned("INCR", "m")

    assert translator.ask(old[0], old[1].args, 0, NOW).expiry_of == ()
    assert translator.ask(new[0], new[1].args, 0, NOW).expiry_of == (b"m",)


@pytest.mark.parametrize("line", ["FLUSHALL", "LPOP n"])
def test_key_that_may_be_another_one_is_unknown_again(translator: Translator, line: str) -> None:
    """What was known of its expiry is over."""
    run(translator, "EXPIRE n 2", encode.integer(1))
    run(translator, line, encode.bulk("old") if line == "LPOP n" else encode.OK)
    plan, request = planned("INCR", "n")

    assert translator.ask(plan, request.args, 0, NOW).expiry_of == (b"n",)
    assert run(translator, "INCR n", encode.integer(2), NO_EXPIRY) == (["SET n 2 KEEPTTL"], [])


def test_renamed_key_of_unknown_expiry_is_asked_for_under_its_new_name(translator: Translator) -> None:
    """So that commands that are on their way already, and were not asked for, need no copy."""
    soon = encode.integer(NOW_MS + 1_000)
    run(translator, "INCR m", encode.integer(1), NO_EXPIRY)
    assert run(translator, "RENAME n m", encode.OK, soon) == (["RENAME n m"], [])
    assert run(translator, "INCR m", encode.integer(5), soon)[0][1:] == [
        "SET m 5 KEEPTTL", f"PEXPIREAT m {NOW_MS + 1_000}", "EXEC",
    ]  # fmt: skip
    assert run(translator, "RENAME m o", encode.OK) == (["RENAME m o"], [])
    assert run(translator, "RENAME gone n", encode.OK, GONE) == (["RENAME gone n"], [])


def test_persist_is_known_too(translator: Translator) -> None:
    """It ends the expiry for both stores."""
    run(translator, "EXPIRE n 2", encode.integer(1))
    run(translator, "PERSIST n", encode.integer(1))

    assert run(translator, "INCR n", encode.integer(2)) == (["SET n 2 KEEPTTL"], [])


def test_old_primary_is_asked_for_what_is_left(translator: Translator) -> None:
    """Before Redis 7.0 there is only PTTL."""
    translator.has_pexpiretime = False
    plan, request = planned("INCR", "n")

    assert translator.ask(plan, request.args, 0, NOW).wires == (encode.command("PTTL", "n"),)
    assert run(translator, "INCR n", encode.integer(5), encode.integer(1_000)) == (
        ["MULTI", "SET n 5 KEEPTTL", f"PEXPIREAT n {NOW_MS + 1_000}", "EXEC"],
        [],
    )
    assert run(translator, "INCR m", encode.integer(5), NO_EXPIRY) == (["SET m 5 KEEPTTL"], [])


def test_what_derives_from_a_key_that_ends_soon_is_copied(translator: Translator) -> None:
    """Over there the source may be gone already: the result is copied, not computed again."""
    far, soon = encode.integer(NOW_MS + 60_000), encode.integer(NOW_MS + 1_000)
    stored = encode.integer(2)

    assert run(translator, "SUNIONSTORE d a b", stored, NO_EXPIRY, NO_EXPIRY, far) == (
        ["SUNIONSTORE d a b"],
        [],
    )
    effects, copies = run(translator, "SUNIONSTORE d2 c e", stored, NO_EXPIRY, NO_EXPIRY, soon)
    assert effects == []
    assert (0, b"d2") in copies


# --- transactions --------------------------------------------------------------------------------------


def test_transaction_is_one_item_of_its_effects(translator: Translator) -> None:
    """Reads and failed commands are left out; effects stay in order, in one block."""
    made = run_transaction(
        translator,
        ("SET a 1", encode.OK),
        ("GET a", encode.bulk("1")),
        ("LPUSH l x", ERROR),
        ("INFO", encode.bulk("x")),
        ("INCR n", encode.integer(1)),
        ("PUBLISH c m", encode.integer(0)),
        answers=[NO_EXPIRY, NO_EXPIRY],
    ).item

    assert made is not None
    assert sent(made) == ["MULTI", "SET a 1", "SET n 1 KEEPTTL", "PUBLISH c m", "EXEC"]
    assert [request.args[0] for _, request in made.parts] == [b"SET", b"SET", b"PUBLISH"]
    assert (made.plan, made.queue, made.offered_at, made.expected) == (EXEC, Queue.WRITE, NOW, None)
    assert len(sent(made)) == made.reply_count
    assert len(made.parts) == len(made.part_checks)


def test_transaction_that_is_its_own_effect_goes_as_it_came(translator: Translator) -> None:
    """The bytes of the client are the bytes for the secondary."""
    lines = [("SET a 1", encode.OK), ("DEL b", encode.integer(1))]
    made = run_transaction(translator, *lines).item

    assert made is not None
    assert made.request.raw == Transaction([planned(*line.split()) for line, _ in lines]).wire()


@pytest.mark.parametrize(
    "queued",
    [
        pytest.param([("GET a", encode.bulk("1")), ("EXISTS a", encode.integer(1))], id="reads only"),
        pytest.param([("HDEL a x", ERROR), ("SREM a x", ERROR)], id="nothing succeeded"),
        pytest.param([("HDEL a x", b"!9\r\nERR wrong\r\n")], id="RESP3's long error"),
        pytest.param([("SET a 1 NX", encode.null(2)), ("LPOP l", encode.null(3))], id="no effect"),
        pytest.param([("SELECT 3", encode.OK), ("GET a", encode.null(2))], id="another database only"),
        pytest.param([], id="nothing queued"),
    ],
)
def test_transaction_without_effects_is_not_mirrored(
    translator: Translator, queued: list[tuple[str, bytes]]
) -> None:
    """There is nothing to do for the secondary."""
    assert run_transaction(translator, *queued) == Translation()


def test_transaction_that_was_not_executed_is_not_mirrored(translator: Translator) -> None:
    """A WATCH that failed, or an EXECABORT, has no results."""
    commands = [planned("SET", "a", "1")]

    assert translator.translate_transaction(EXEC, commands, None, NOW, Context()) == Translation()


@pytest.mark.parametrize(
    ("queued", "queue"),
    [
        ([("SET a 1", encode.OK), ("EVAL return(1) 0", encode.OK)], Queue.SCRIPT),
        ([("FCALL f 0", encode.OK)], Queue.SCRIPT),
        ([("SET a 1", encode.OK), ("EVAL_RO x 0", encode.OK)], Queue.WRITE),
        ([("SCRIPT LOAD x", encode.bulk("sha"))], Queue.SCRIPT),
    ],
)
def test_transaction_with_a_script_counts_as_a_script(
    translator: Translator, queued: list[tuple[str, bytes]], queue: Queue
) -> None:
    """One script that is mirrored puts the whole transaction into the queue of scripts."""
    made = run_transaction(translator, *queued).item

    assert made is not None
    assert queue is made.queue


def test_keys_to_copy_are_in_the_databases_that_a_transaction_selects(translator: Translator) -> None:
    """Where a SELECT is among the commands, nothing can be asked behind them: what it needs is copied."""
    made = run_transaction(
        translator, ("SET a 1", encode.OK), ("SELECT 5", encode.OK), ("INCR n", encode.integer(1))
    )

    assert told(made) == (["MULTI", "SET a 1", "SELECT 5", "EXEC"], [(5, b"n")])
    assert made.item is not None
    assert made.item.selects


def test_refused_select_changes_nothing(translator: Translator) -> None:
    """What follows it was executed where it was before."""
    made = run_transaction(
        translator, ("SELECT 99", ERROR), ("INCREX n", encode.integer(1)), ("SET a 1", encode.OK), db=2
    )

    assert told(made) == (["MULTI", "SET a 1", "EXEC"], [(2, b"n")])


def test_answers_behind_a_transaction_belong_to_their_commands(translator: Translator) -> None:
    """First the questions of the rules in order, then the expiries."""
    made = run_transaction(
        translator,
        ("INCR a", encode.integer(1)),
        ("SADD s m", encode.integer(1)),
        answers=[encode.integer(NOW_MS + 1_000), NO_EXPIRY],
    )

    assert told(made) == (
        ["MULTI", "SET a 1 KEEPTTL", f"PEXPIREAT a {NOW_MS + 1_000}", "SADD s m", "EXEC"],
        [],
    )


# --- scripts -------------------------------------------------------------------------------------------

REPEATABLE = "return(redis.call('INCR',KEYS[1]))"
RANDOM = "return(redis.call('SPOP',KEYS[1]))"
RANDOM_ELSEWHERE = "return(redis.call('SPOP','fixed'))"


def test_repeatable_script_is_replayed(translator: Translator) -> None:
    """Its simple reply is due there too."""
    plan, request = planned("EVAL", REPEATABLE, "1", "k")
    asked = Asked((b"",), (0,), (b"k",))
    item, copies = translator.translate(plan, request, encode.integer(3), NOW, Context(), asked, [NO_EXPIRY])

    assert item is not None
    assert (item.queue, item.check, copies) == (Queue.SCRIPT, encode.integer(3), ())
    assert item.request is request


def test_script_by_chance_is_copied(translator: Translator) -> None:
    """The keys that it names are copied; if it may write others, it is replayed for those."""
    assert run(translator, f"EVAL {RANDOM} 1 k", encode.bulk("m"), NO_EXPIRY) == ([], [(0, b"k")])

    effects, copies = run(translator, f"EVAL {RANDOM_ELSEWHERE} 1 k", encode.bulk("m"), NO_EXPIRY)
    assert (effects, copies) == ([f"EVAL {RANDOM_ELSEWHERE} 1 k"], [(0, b"k")])


def test_script_by_its_hash_is_known_once_it_was_loaded(translator: Translator) -> None:
    """EVALSHA is judged by the text, if SCRIPT LOAD or EVAL has told it; else it is taken for the worst."""
    sha = "1" * 40
    assert run(translator, f"EVALSHA {sha} 1 k", encode.OK, NO_EXPIRY)[1] == [(0, b"k")]

    run(translator, f"SCRIPT LOAD {RANDOM}", encode.bulk("sha"))
    sha = hashlib.sha1(RANDOM.encode()).hexdigest()
    assert run(translator, f"EVALSHA {sha} 1 k", encode.OK, NO_EXPIRY) == ([], [(0, b"k")])


@pytest.mark.parametrize(
    ("reply", "has_run"),
    [
        ("NOSCRIPT No matching script. Please use EVAL.", False),
        ("ERR wrong number of arguments for 'eval' command", False),
        ("ERR Error compiling script (new function): user_script:1: x", False),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", False),
        ("WRONGTYPE Operation script: abc, on @user_script:2.", True),
        ("ERR value is not an integer or out of range script: abc, on @user_script:1.", True),
        ("OOM command not allowed when used memory > 'maxmemory'. script: abc, on @user_script:1.", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", True),
        ("BUSY the lock is held by another", True),
        ("MYERR own words", True),
    ],
)
def test_script_that_failed_in_its_middle_is_copied(
    translator: Translator, reply: str, has_run: bool
) -> None:
    """What it wrote before stays: its keys are copied, unless it surely never ran."""
    copies = [(0, b"k")] if has_run else []

    assert run(translator, f"EVAL {REPEATABLE} 1 k", encode.error(reply), NO_EXPIRY) == ([], copies)


def test_script_that_writes_nothing_is_not_mirrored(translator: Translator) -> None:
    """Its flags say so."""
    plan, request = planned("EVAL", "#!lua flags=no-writes\nreturn 1", "1", "k")

    assert translator.translate(plan, request, encode.OK, NOW, Context()) == Translation()


def test_failed_load_teaches_nothing(translator: Translator) -> None:
    """Errors of SCRIPT LOAD are passed on as they are, and the text is not remembered."""
    plan, request = planned("SCRIPT", "LOAD", "x(")
    translator.translate(plan, request, encode.error("ERR Error compiling"), NOW, Context())

    assert len(translator.scripts) == 0


# --- dialect -------------------------------------------------------------------------------------------

SMALL = [
    encode.bulk("redis_version:5.0.0\r\n"),
    encode.array(
        encode.array([encode.bulk(name)])
        for name in ("set", "del", "get", "pexpire", "lpush", "lrem", "eval")
    ),
]


def test_effects_are_said_as_the_secondary_understands_them(translator: Translator) -> None:
    """In older words where there are some, as a copy where a copy says it; what it cannot hold is counted."""
    translator.speak(learn(SMALL))

    assert run(translator, "EXPIRE a 10", encode.integer(1)) == ([], [(0, b"a")])
    assert run(translator, "APPEND a xy", encode.integer(2), NO_EXPIRY)[1] == [(0, b"a")]
    assert run(translator, "FUNCTION FLUSH", encode.OK) == ([], [])
    assert translator.not_holdable == {"FUNCTION FLUSH": 1}


def test_what_is_plain_depends_on_the_secondary(translator: Translator) -> None:
    """A request that is its own effect goes the short way only where it is understood."""
    delete = plan_of((b"DEL", b"a")).index
    pop = plan_of((b"ZREM", b"z", b"m")).index
    assert translator.is_plain[pop]
    translator.speak(learn(SMALL))

    assert not translator.is_plain[pop]
    assert not translator.is_plain[delete]  # any number of keys
