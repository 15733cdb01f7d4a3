"""Where a request goes, and what of it is mirrored or compared."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.commands.table import COMMANDS, UNKNOWN, CommandSpec, find_command
from dualkv.core.compare import CONDITIONAL, Rule
from dualkv.core.ledger import Queue
from dualkv.core.routing import ON_LANES, ORDINARY, Plan, Route, plan_for, plan_of
from tests.core.building import ask

KNOWN = [spec for spec in COMMANDS if spec is not UNKNOWN]


MAY_ONLY_READ = list(map(find_command, (b"SORT", b"GEORADIUS", b"GEORADIUSBYMEMBER")))
"""Writes with ``STORE``, reads without."""


def label(spec: CommandSpec) -> str:
    """Return how pytest shows a command."""
    return spec.label


def decide(text: str) -> Plan:
    """Return the plan of a request that is written as a line."""
    return plan_of(ask(*text.split()).args)


def decide_for(spec: CommandSpec) -> Plan:
    """Return the plan of a request with nothing but the command's name."""
    return decide(spec.name)


# --- every command -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", COMMANDS, ids=label)
def test_every_command_of_the_table_has_a_plan(spec: CommandSpec) -> None:
    """A command's plan is its own: same facts, same index."""
    plan = plan_for(spec)

    assert spec is plan.spec
    assert spec.index == plan.index


@pytest.mark.parametrize("spec", KNOWN, ids=label)
def test_name_is_found_in_any_case(spec: CommandSpec) -> None:
    """A request gets the plan of its command, however the client writes the name."""
    found = {decide(name).spec for name in (spec.name, spec.name.lower(), spec.name.title())}

    assert {spec} == found


@pytest.mark.parametrize("spec", KNOWN, ids=label)
def test_only_what_reaches_the_primary_is_mirrored_or_shadowed(spec: CommandSpec) -> None:
    """What dualkv answers or refuses by itself has neither a queue nor a comparator."""
    plan = decide_for(spec)

    has_effects = plan.route in (Route.LANE, Route.RECEIVERS, Route.DELICATE, Route.BLOCKING)
    assert has_effects or (plan.queue, plan.comparator) == (None, None)


@pytest.mark.parametrize(
    "spec",
    [spec for spec in KNOWN if spec.kind in ("write", "publish") and spec not in MAY_ONLY_READ],
    ids=label,
)
def test_write_on_the_lane_has_a_queue(spec: CommandSpec) -> None:
    """Every write that the primary executes is mirrored, and none is shadowed."""
    plan = decide_for(spec)
    queues = {Route.LANE: Queue.WRITE, Route.RECEIVERS: Queue.WRITE, Route.BLOCKING: Queue.BLOCKING}

    assert queues.get(plan.route) is plan.queue
    assert plan.comparator is None


@pytest.mark.parametrize("spec", [spec for spec in KNOWN if spec.kind == "script"], ids=label)
def test_script_is_mirrored_through_the_queue_of_scripts(spec: CommandSpec) -> None:
    """A script goes to the primary, and to the secondary within the limits of scripts."""
    plan = decide_for(spec)

    assert (plan.route, plan.queue) == (Route.LANE, Queue.SCRIPT)


@pytest.mark.parametrize("spec", [spec for spec in KNOWN if spec.kind in ("read", "script_ro")], ids=label)
def test_read_has_no_queue(spec: CommandSpec) -> None:
    """A read is never mirrored."""
    assert decide_for(spec).queue is None


@pytest.mark.parametrize(
    "spec", [spec for spec in KNOWN if spec.kind not in ("read", "script_ro")], ids=label
)
def test_only_reads_are_compared(spec: CommandSpec) -> None:
    """What is no read is never sent to the secondary as a shadow read."""
    plan = decide_for(spec)
    assert plan_for(spec).comparator is None
    assert plan.comparator is None or (spec in MAY_ONLY_READ and plan.queue is None)


@pytest.mark.parametrize("name", ["SORT k", "GEORADIUS k 1 1 1 m", "GEORADIUSBYMEMBER k m 1 m"])
def test_what_writes_only_with_an_option_is_a_read_without(name: str) -> None:
    """Without STORE it is not mirrored, asks no questions, and is compared; with it, the other way round."""
    read, write = decide(name), decide(f"{name} STORE d")

    assert (read.queue, read.may_ask, write.queue, write.comparator) == (None, False, Queue.WRITE, None)
    assert read.comparator is not None


@pytest.mark.parametrize(
    "line",
    ["SSCAN k 17", "HSCAN k 5 COUNT 9", "SORT k BY w_*", "SORT_RO k GET d_*", "XREAD STREAMS s $",
     "XPENDING s g IDLE 9 - + 10", "SUNIONCARD 1 k APPROX"],
)  # fmt: skip
def test_read_whose_arguments_make_it_incomparable_is_not_shadowed(line: str) -> None:
    """A part of a scan, other keys, the moment: the secondary is spared the work."""
    plan = decide(line)

    assert (plan.route in ON_LANES, plan.queue, plan.comparator) == (True, None, None)


@pytest.mark.parametrize(
    "spec", [spec for spec in KNOWN if "nondeterministic_output" in spec.tips], ids=label
)
def test_reply_that_differs_by_nature_is_compared_by_what_does_not(spec: CommandSpec) -> None:
    """A command whose reply depends on the server or the moment has a rule that knows, or none."""
    assert plan_for(spec).comparator in {None, Rule.TTL, Rule.SCAN, Rule.PENDING, Rule.STREAM_INFO}


@pytest.mark.parametrize(
    "line",
    [
        "GETEX k EX 1", "GETDEL k", "GETSET k v", "SPOP s", "XREADGROUP GROUP g c STREAMS s >",
        "XAUTOCLAIM s g c 0 0", "SORT k STORE d", "GEORADIUS k 1 1 1 m STORE d", "EVAL x 0", "FCALL f 0",
        "BITFIELD k SET u8 0 1",
    ],
)  # fmt: skip
def test_write_that_looks_like_a_read_is_mirrored_and_not_shadowed(line: str) -> None:
    """A command that reads and writes goes through a queue; as a shadow read it would write twice."""
    plan = decide(line)

    assert plan.queue in (Queue.WRITE, Queue.SCRIPT)
    assert plan.comparator is None


@pytest.mark.parametrize("line", ["SCRIPT LOAD x", "SCRIPT FLUSH", "FUNCTION LOAD x", "FUNCTION FLUSH"])
def test_change_of_the_servers_scripts_is_mirrored(line: str) -> None:
    """The secondary learns and forgets scripts and functions with the primary."""
    assert decide(line).queue in (Queue.WRITE, Queue.SCRIPT)


# --- what the shared lane must not see -----------------------------------------------------------------

STATEFUL = [
    "AUTH x", "AUTH default x", "HELLO", "HELLO 3", "SELECT 1", "RESET", "QUIT", "READONLY", "READWRITE",
    "ASKING", "MULTI", "EXEC", "DISCARD", "WATCH k", "UNWATCH",
]  # fmt: skip
WITHOUT_EXACTLY_ONE_REPLY = [
    "MONITOR", "SUBSCRIBE c", "UNSUBSCRIBE", "PSUBSCRIBE p", "PUNSUBSCRIBE", "SSUBSCRIBE c", "SUNSUBSCRIBE",
    "SYNC", "PSYNC ? -1", "REPLCONF ACK 0", "CLIENT REPLY OFF", "CLIENT REPLY SKIP", "SHUTDOWN NOSAVE",
    "CLUSTER SYNCSLOTS SYNC",
]  # fmt: skip
WAITING = [
    "BLPOP k 0", "BRPOP k 0", "BLMOVE a b LEFT LEFT 0", "BRPOPLPUSH a b 0", "BLMPOP 0 1 k LEFT",
    "BZPOPMIN k 0", "BZPOPMAX k 0", "BZMPOP 0 1 k MIN", "WAIT 1 0", "WAITAOF 1 0 0",
    "XREAD BLOCK 0 STREAMS s $", "XREAD COUNT 1 BLOCK 0 STREAMS s $", "xread block 0 streams s $",
    "XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "XREADGROUP GROUP g c COUNT 1 NOACK BLOCK 0 STREAMS s >",
    "CLIENT PAUSE 1000", "DEBUG SLEEP 1",
]  # fmt: skip
DANGEROUS = [
    "DEBUG SEGFAULT", "CONFIG SET maxmemory 1", "CONFIG REWRITE", "CONFIG RESETSTAT", "REPLICAOF NO ONE",
    "SLAVEOF h 1", "FAILOVER", "SAVE", "BGSAVE", "BGREWRITEAOF", "MODULE LOAD x", "MODULE UNLOAD x",
    "ACL SETUSER x", "ACL DELUSER x", "ACL LOAD", "ACL SAVE", "CLUSTER RESET", "CLUSTER FAILOVER",
    "MIGRATE h 1 k 0 1", "SCRIPT KILL", "FUNCTION KILL", "SCRIPT DEBUG YES", "SLOWLOG RESET", "LATENCY RESET",
    "PFDEBUG GETREG k",
]  # fmt: skip


@pytest.mark.parametrize("line", STATEFUL + WITHOUT_EXACTLY_ONE_REPLY + WAITING + DANGEROUS)
def test_what_would_disturb_the_shared_lane_does_not_reach_it(line: str) -> None:
    """A connection's state, extra or missing replies, waiting and administration stay off the lane."""
    assert decide(line).route is not Route.LANE


@pytest.mark.parametrize(
    "spec",
    [spec for spec in KNOWN if spec.name.startswith("CLIENT") and spec.name != "CLIENT HELP"],
    ids=label,
)
def test_no_client_command_reaches_the_lane(spec: CommandSpec) -> None:
    """CLIENT and all of its sub-commands mean the client's own connection, which the lane is not."""
    assert decide_for(spec).route is not Route.LANE


@pytest.mark.parametrize("spec", [spec for spec in KNOWN if "no_multi" in spec.flags], ids=label)
def test_what_servers_refuse_in_transactions_does_not_reach_the_lane(spec: CommandSpec) -> None:
    """Commands that servers do not take between MULTI and EXEC change their connection."""
    assert decide_for(spec).route is not Route.LANE


@pytest.mark.parametrize(
    "spec", [spec for spec in KNOWN if spec.kind in ("conn", "txn") and spec.name != "CLIENT HELP"], ids=label
)
def test_connection_and_transaction_commands_stay_off_the_lane(spec: CommandSpec) -> None:
    """What concerns one connection is never sent on a shared one."""
    assert decide_for(spec).route is not Route.LANE


def test_administration_on_the_lane_only_looks() -> None:
    """Of all administrative commands, the primary gets those that change nothing."""
    harmless = {
        "ACL DRYRUN", "ACL GETUSER", "ACL LIST", "ACL LOG", "ACL USERS", "BACKUP LIST", "BACKUP STATUS",
        "CLUSTER COUNT-FAILURE-REPORTS", "CLUSTER REPLICAS", "CLUSTER SLAVES", "COMMANDLOG GET",
        "COMMANDLOG LEN", "CONFIG GET", "HOTKEYS GET", "LATENCY DOCTOR", "LATENCY GRAPH", "LATENCY HISTOGRAM",
        "LATENCY HISTORY", "LATENCY LATEST", "MODULE LIST", "SLOWLOG GET", "SLOWLOG LEN",
    }  # fmt: skip
    sent = {spec.name for spec in KNOWN if spec.kind == "admin" and decide_for(spec).route is Route.LANE}

    assert harmless == sent


@pytest.mark.parametrize("name", ["POST", "post", "Host:", "HOST:"])
def test_what_servers_take_for_an_http_attack_does_not_reach_the_lane(name: str) -> None:
    """Redis and Valkey close a connection that says POST or Host: (an HTTP client): not everybody's lane."""
    assert plan_of(ask(name, "/", "HTTP/1.1").args).route is not Route.LANE


@pytest.mark.parametrize(
    "line",
    [
        "XREADGROUP GROUP streams c BLOCK 0 STREAMS s >",
        "XREADGROUP GROUP STREAMS c COUNT 1 BLOCK 0 STREAMS s >",
        "XREADGROUP GROUP g streams BLOCK 0 STREAMS s >",
        "xreadgroup group streams streams block 0 streams streams >",
        "XREADGROUP COUNT 1 GROUP streams c BLOCK 0 STREAMS s >",
        "XREADGROUP BLOCK 0 GROUP streams c STREAMS s >",
        "XREADGROUP GROUP block block BLOCK 0 STREAMS s >",
    ],
)
def test_name_called_streams_does_not_hide_that_a_request_waits(line: str) -> None:
    """XREADGROUP with BLOCK stays off the lane, whatever its group and consumer are called."""
    assert decide(line).route is not Route.LANE


@pytest.mark.parametrize(
    "line",
    [
        "XREADGROUP GROUP block c STREAMS s >",
        "XREADGROUP GROUP g block COUNT 1 STREAMS s >",
        "XREADGROUP GROUP g c STREAMS block >",
    ],
)
def test_name_called_block_does_not_make_a_request_wait(line: str) -> None:
    """XREADGROUP without BLOCK is a write on the lane, whatever the names in it are."""
    plan = decide(line)

    assert (plan.route, plan.queue) == (Route.LANE, Queue.WRITE)


@pytest.mark.parametrize(
    "line", ["XREAD STREAMS s 0", "XREAD COUNT 2 STREAMS block 0", "XREAD STREAMS s block 0 0"]
)
def test_read_of_a_stream_that_does_not_wait_is_delicate(line: str) -> None:
    """XREAD without BLOCK goes to the lane, unless the store waits all the same, and is shadowed."""
    plan = decide(line)

    assert (plan.route, plan.queue, plan.comparator) == (Route.DELICATE, None, Rule.STREAMS)


# --- the other routes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "route"),
    [
        ("PING", Route.LOCAL),
        ("ECHO x", Route.LOCAL),
        ("CLIENT SETNAME x", Route.LOCAL),
        ("client id", Route.LOCAL),
        ("MULTI", Route.TRANSACTION),
        ("EXEC", Route.TRANSACTION),
        ("WATCH k", Route.TRANSACTION),
        ("SUBSCRIBE c", Route.SUBSCRIPTION),
        ("BLPOP k 0", Route.BLOCKING),
        ("CLIENT TRACKING ON", Route.LOCAL),
        ("CLIENT NOSUCH", Route.REFUSED),
        ("SHUTDOWN", Route.REFUSED),
        ("config set maxmemory 1", Route.REFUSED),
        ("CONFIG GET maxmemory", Route.LANE),
        ("INFO", Route.LANE),
        ("COMMAND", Route.LANE),
        ("COMMAND COUNT", Route.LANE),
        ("PUBLISH c m", Route.RECEIVERS),
        ("PUBSUB CHANNELS", Route.LANE),
        ("SCAN 0", Route.DELICATE),
        ("KEYS *", Route.DELICATE),
        ("DBSIZE", Route.DELICATE),
        ("PUBSUB NUMSUB c", Route.RECEIVERS),
        ("SELECT 1", Route.SESSION),
        ("CLIENT LIST", Route.CLIENTS),
        ("CLIENT PAUSE 1", Route.REFUSED),
        ("SCRIPT KILL", Route.LEASED),
        ("WAIT 1 0", Route.WAIT),
        ("JSON.SET k $ 1", Route.UNKNOWN),
    ],
)
def test_request_goes_where_it_belongs(line: str, route: Route) -> None:
    """Each kind of request has its own taker."""
    assert route is decide(line).route


@pytest.mark.parametrize(
    "name",
    [b"NOSUCH", b"\xff\x00", b"", b"OTHER", b"other", b"CONFIG SET", b"CLIENT REPLY", b"GET ", b"G" * 1000],
)
def test_unknown_command_is_one_to_ask_about(name: bytes) -> None:
    """What is not in the table may be a write; the metrics call it other."""
    plan = plan_of((name, b"k"))

    assert UNKNOWN is plan.spec
    assert (plan.route, plan.queue, plan.comparator) == (Route.UNKNOWN, Queue.WRITE, None)
    assert plan.spec.label == "other"


# --- the hot path --------------------------------------------------------------------------------------


def test_ordinary_holds_lane_plans_that_arguments_cannot_change() -> None:
    """One look at the name decides for each command in ORDINARY: it goes to the lane in any case."""
    for plan in ORDINARY.values():
        assert plan.route is Route.LANE
        assert not plan.depends_on_arguments
        assert plan.spec is not UNKNOWN
        assert not plan.spec.subcommands
        assert "blocking" not in plan.spec.flags


def test_ordinary_knows_every_such_command_in_upper_and_lower_case() -> None:
    """What goes to the lane by its name alone is found as clients write it."""
    expected = {
        written
        for spec in KNOWN
        if " " not in spec.name and not spec.subcommands and "blocking" not in spec.flags
        if plan_for(spec).route is Route.LANE and spec.name not in CONDITIONAL
        for written in (spec.name.encode(), spec.name.lower().encode())
    }

    assert expected == set(ORDINARY)


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(ORDINARY)),
    arguments=st.lists(
        st.sampled_from([b"BLOCK", b"0", b"STREAMS", b"SET", b"REPLY", b"STORE", b"k"])
        | st.binary(max_size=9)
    ),
)
def test_ordinary_command_keeps_its_plan_with_any_arguments(name: bytes, arguments: list[bytes]) -> None:
    """No arguments take an ordinary command off the lane."""
    assert ORDINARY[name] is plan_of((name, *arguments))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_any_request_has_a_plan(words: list[bytes]) -> None:
    """No input of a client is without a plan."""
    plan = plan_of(tuple(words))

    assert plan.spec is plan_for(plan.spec).spec
    assert plan.index == plan.spec.index
