"""Reports to Sentry: a real transport sends them to a server that speaks Sentry's protocol."""

from __future__ import annotations

import doctest
import json
import logging
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
import sentry_sdk

from dualkv.core.divergence import Cause, Divergence, DivergenceKind
from dualkv.observe import sentry as module
from dualkv.observe.sentry import FLUSH_SECONDS, MAX_FINGERPRINTS, MAX_WAITING, SentryReporter
from dualkv.servers import free_port
from tests.support.sentry_server import SentryServer, parse_envelope

KEY = b"user:alice"
EXPECTED = b"$12\r\npassword=one\r\n"
ACTUAL = b"$12\r\npassword=two\r\n"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Start(Protocol):
    """Starts a reporter that is closed at the end of the test."""

    def __call__(self, dsn: str = "", **options: Any) -> SentryReporter:
        """Start it; without *dsn* for the test's server."""


@pytest.fixture(name="server")
def _server() -> Iterator[SentryServer]:
    """A Sentry; nothing that it was sent may have been ill-formed."""
    with SentryServer() as server:
        yield server
        assert server.complaints == []


@pytest.fixture(name="clock")
def _clock() -> Clock:
    """Time for the interval between equal reports."""
    return Clock()


@pytest.fixture(name="start")
def _start(server: SentryServer, clock: Clock) -> Iterator[Start]:
    """Start reporters, and close them at the end."""
    reporters: list[SentryReporter] = []

    def start(dsn: str = "", **options: Any) -> SentryReporter:
        reporters.append(SentryReporter.start(dsn or server.dsn, clock, **options))
        return reporters[-1]

    yield start
    server.answers.set()
    for reporter in reporters:
        reporter.close(0.5)


def divergence(command: str = "GET", **changes: Any) -> Divergence:
    """Return a difference."""
    facts: dict[str, Any] = {
        "kind": DivergenceKind.DATA_MISMATCH,
        "key": KEY,
        "expected": EXPECTED,
        "actual": ACTUAL,
        "time_seconds": 1.7e9,
    }
    return Divergence(command, **{**facts, **changes})


def caught(raise_it: Callable[[], object]) -> Exception:
    """Return what a call raises, with its traceback."""
    try:
        raise_it()
    except Exception as error:  # noqa: BLE001 - that is what is asked for
        return error
    raise AssertionError("nothing was raised")


def fail() -> None:
    """Raise an error."""
    raise IndexError("out of range")


def the_event(server: SentryServer, reporter: SentryReporter) -> dict[str, Any]:
    """Return the only event that has come."""
    reporter.flush()
    (event,) = server.events
    return event


# --- what a report says


def test_divergence_is_a_warning_with_kind_and_command_as_tags(server: SentryServer, start: Start) -> None:
    """Level, message, tags, fingerprint, context: as operators find and group it."""
    reporter = start(environment="staging")
    reporter.capture_divergence(divergence(db=3, id="65536000beef-000001", cause=Cause.DROPPED))

    event = the_event(server, reporter)

    assert event["level"] == "warning"
    assert event["message"] == "data_mismatch in GET"
    assert event["tags"] == {"kind": "data_mismatch", "command": "GET"}
    assert event["fingerprint"] == ["data_mismatch", "GET"]
    assert event["environment"] == "staging"
    assert event["release"].startswith("dualkv@")
    assert event["contexts"] == {
        "divergence": {
            "key": "user:alice",
            "primary": EXPECTED.decode(),
            "secondary": ACTUAL.decode(),
            "time": 1.7e9,
            "db": 3,
            "cause": "dropped",
            "id": "65536000beef-000001",
        }
    }


def test_a_report_is_one_compressed_envelope(server: SentryServer, start: Start) -> None:
    """Header and item name the event; the project and the key were the DSN's, or the server complains."""
    reporter = start()
    reporter.capture_divergence(divergence())
    event = the_event(server, reporter)

    (envelope,) = server.envelopes
    assert envelope.is_compressed
    assert [header["type"] for header, _ in envelope.items] == ["event"]
    assert envelope.header["event_id"] == event["event_id"]


@pytest.mark.parametrize("kind", DivergenceKind)
def test_key_and_values_stand_in_the_context_only(
    server: SentryServer, start: Start, kind: DivergenceKind
) -> None:
    """Messages and tags are indexed, shown in lists and sent by mail; contexts are not."""
    reporter = start()
    reporter.capture_divergence(divergence("HGET", kind=kind, args=(b"HGET", KEY, b"password")))
    event = the_event(server, reporter)

    context = json.dumps(event.pop("contexts"))
    (envelope,) = server.envelopes
    everything_else = envelope.text.replace(context, "").replace(json.dumps(json.loads(context)), "")
    assert "alice" in context
    assert event["tags"] == {"kind": kind.value, "command": "HGET"}
    for secret in ("alice", "password"):
        assert secret not in json.dumps(event)
        assert everything_else.count(secret) == context.count(secret)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b"x" * 256, "x" * 256),
        (b"x" * 1_000_000, "x" * 256),
        (b"\xff" * 256, "\\xff" * 64),
        ("€".encode() * 100, "€" * 85),
        (b"x" * 255 + "€".encode(), "x" * 255),
        (b"a\0b\r\n", "a\0b\r\n"),
    ],
    ids=["empty", "exactly", "long", "binary", "characters", "cut in a character", "control characters"],
)
def test_key_and_values_are_cut_to_256_bytes(
    server: SentryServer, start: Start, value: bytes, text: str
) -> None:
    """Whatever they hold, and as they are sent: what is not text is written as escapes."""
    reporter = start()
    reporter.capture_divergence(divergence(key=value, expected=value, actual=value))

    context = the_event(server, reporter)["contexts"]["divergence"]

    assert {name: context[name] for name in ("key", "primary", "secondary")} == dict.fromkeys(
        ("key", "primary", "secondary"), text
    )
    assert len(text.encode()) <= 256


def test_exception_has_operation_and_command_as_tags_and_fingerprint(
    server: SentryServer, start: Start
) -> None:
    """And its type, and where it was raised."""
    reporter = start()
    reporter.capture_exception(caught(fail), "mirror", "SET")

    event = the_event(server, reporter)

    assert event["level"] == "error"
    assert event["tags"] == {"operation": "mirror", "command": "SET"}
    assert event["fingerprint"] == ["mirror", "SET"]
    (raised,) = event["exception"]["values"]
    assert raised["type"] == "IndexError"
    assert [frame["function"] for frame in raised["stacktrace"]["frames"]] == ["caught", "fail"]


def test_exception_without_a_command_has_no_tag_for_it(server: SentryServer, start: Start) -> None:
    """Sentry refuses empty ones."""
    reporter = start()
    reporter.capture_exception(caught(fail), "session")

    assert the_event(server, reporter)["tags"] == {"operation": "session"}


def test_texts_of_exceptions_stand_in_the_context_only(server: SentryServer, start: Start) -> None:
    """They may quote what a client sent: ``int(b"…")`` does. Those of causes, too; cut like values."""

    def fail() -> None:
        try:
            int(b"password=one")
        except ValueError as error:
            raise KeyError("alice" + "x" * 300) from error

    reporter = start()
    reporter.capture_exception(caught(fail), "mirror", "SET")
    event = the_event(server, reporter)

    texts = event.pop("contexts")["exception"]["texts"]
    assert sorted(text[:30] for text in texts) == [
        "KeyError: 'alicexxxxxxxxxxxxxx",
        "ValueError: invalid literal fo",
    ]
    assert max(map(len, texts)) == 256
    assert {one["type"] for one in event["exception"]["values"]} == {"KeyError", "ValueError"}
    assert [one.get("value") for one in event["exception"]["values"]] == [None, None]


def test_a_group_of_exceptions_is_one_report(server: SentryServer, start: Start) -> None:
    """As nurseries raise them; however many there are, the texts are few."""
    errors = [ValueError(f"number {number}") for number in range(100)]

    def fail() -> None:
        raise ExceptionGroup("several", errors)

    reporter = start()
    reporter.capture_exception(caught(fail), "session")
    event = the_event(server, reporter)

    assert len(event["contexts"]["exception"]["texts"]) == 10
    assert "number 5" not in json.dumps(event["exception"])


# --- what must not leave


def test_nothing_leaves_that_nobody_asked_for(
    server: SentryServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No local variables, host name, breadcrumbs, requests, users, modules, arguments or environment."""
    secret = uuid.uuid4().hex
    monkeypatch.setattr("sys.argv", ["dualkv", "serve", secret])
    monkeypatch.setenv("DUALKV_PRIMARY_PASSWORD", secret)
    sentry_sdk.add_breadcrumb(message=secret, data={"key": secret})
    sentry_sdk.get_global_scope().set_user({"name": secret})
    sentry_sdk.get_global_scope().set_context("request", {"body": secret})

    def fail_with(argument: str) -> None:
        local = [argument]
        raise ValueError(len(local))

    reporter = start()
    try:
        reporter.capture_divergence(divergence())
        reporter.capture_exception(caught(lambda: fail_with(secret)), "mirror")
        reporter.flush()
    finally:
        sentry_sdk.get_global_scope().clear()
        sentry_sdk.get_isolation_scope().clear()

    allowed = {
        "contexts", "environment", "event_id", "exception", "fingerprint", "level", "message", "platform",
        "release", "sdk", "tags", "timestamp",
    }  # fmt: skip
    assert [set(event) - allowed for event in server.events] == [set(), set()]
    assert [set(event["contexts"]) for event in server.events] == [{"divergence"}, {"exception"}]
    (raised,) = server.events[1]["exception"]["values"]
    assert len(raised["stacktrace"]["frames"]) == 3
    assert not any("vars" in frame for frame in raised["stacktrace"]["frames"])
    sent = "".join(envelope.text for envelope in server.envelopes)
    for hidden in (secret, f'"{socket.gethostname()}"', "server_name"):
        assert hidden not in sent


# --- how often


def test_equal_reports_are_a_minute_apart(server: SentryServer, start: Start, clock: Clock) -> None:
    """One per kind and command, and one per operation and command; others are not held up."""
    reporter = start()

    def report() -> None:
        reporter.capture_divergence(divergence("GET"))
        reporter.capture_divergence(divergence("GET", key=b"another", expected=b"1", actual=b"2"))
        reporter.capture_divergence(divergence("TTL"))
        reporter.capture_divergence(divergence("GET", kind=DivergenceKind.EXTRA_DATA))
        reporter.capture_exception(caught(fail), "mirror", "GET")
        reporter.capture_exception(caught(lambda: int("x")), "mirror", "GET")

    seen = []
    for now in (0.0, 30.0, 59.9, 60.0, 119.9, 120.0):
        clock.now = 1000 + now
        report()
        reporter.flush()
        seen.append(len(server.events))

    assert seen == [4, 4, 4, 8, 8, 12]
    assert [tuple(event["fingerprint"]) for event in server.events[:4]] == [
        ("data_mismatch", "GET"),
        ("data_mismatch", "TTL"),
        ("extra_data", "GET"),
        ("mirror", "GET"),
    ]


def test_no_more_than_so_many_fingerprints_are_kept(start: Start, clock: Clock) -> None:
    """New ones are dropped while all are fresh; expired ones make room, and only they."""
    reporter = start()
    for number in range(MAX_FINGERPRINTS):
        clock.now = 1000 + number / 1000
        assert reporter.should_report(("kind", str(number)))

    assert not reporter.should_report(("kind", "one too many"))
    assert not reporter.should_report(("kind", "0"))
    assert len(reporter._quiet_until) == MAX_FINGERPRINTS == 10_000

    clock.now = 1060.0025  # three have expired
    assert [reporter.should_report(("new", str(number))) for number in range(4)] == [True] * 3 + [False]
    assert not reporter.should_report(("kind", "3"))
    assert len(reporter._quiet_until) == MAX_FINGERPRINTS

    clock.now = 1200.0
    assert reporter.should_report(("kind", "one too many"))
    assert len(reporter._quiet_until) == 1


def test_a_full_table_of_fingerprints_costs_nothing(start: Start) -> None:
    """While nothing in it has expired, the table is not searched: a report would take a millisecond."""
    reporter = start()
    for number in range(MAX_FINGERPRINTS):
        reporter.should_report(("kind", str(number)))

    began = time.perf_counter()
    for number in range(10_000):
        assert not reporter.should_report(("new", str(number)))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_a_share_of_events_is_sent(
    server: SentryServer, start: Start, share: float, least: int, most: int
) -> None:
    """The sample rate of the settings."""
    random.seed(1)
    reporter = start(sample_rate=share)
    for number in range(200):
        reporter.capture_divergence(divergence(f"C{number}"))
        if number % 50 == 49:
            reporter.flush()

    assert least <= len(server.events) <= most


# --- a Sentry that is not well


@pytest.mark.parametrize("trouble", ["refuses", "error 500", "error 429", "hangs", "slow"])
def test_a_bad_sentry_costs_nothing(server: SentryServer, start: Start, trouble: str) -> None:
    """However many reports there are, each call returns at once, and the wait at the end is bounded."""
    dsn = f"http://key@127.0.0.1:{free_port()}/1" if trouble == "refuses" else server.dsn
    server.status = {"error 500": 500, "error 429": 429}.get(trouble, 200)
    server.delay_seconds = 0.05 if trouble == "slow" else 0.0
    if trouble == "hangs":
        server.answers.clear()
    reporter = start(dsn)
    error = caught(fail)

    took = []
    for number in range(500):
        began = time.perf_counter()
        reporter.capture_divergence(divergence(f"C{number}"))
        reporter.capture_exception(error, "mirror", f"C{number}")
        took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < 0.01
    assert sum(took) < 4

    began = time.perf_counter()
    reporter.close(0.3)
    assert time.perf_counter() - began < 0.8
    reporter.capture_divergence(divergence("after the end"))
    if trouble == "hangs":
        assert server.requests == 1


def test_few_reports_wait_for_a_sentry_that_hangs(server: SentryServer, start: Start) -> None:
    """What does not fit is dropped, so memory is bounded; when it wakes up, what waited arrives."""
    server.answers.clear()
    reporter = start()
    reporter.capture_divergence(divergence("first"))
    server.wait_requests(1)
    for number in range(3 * MAX_WAITING):
        reporter.capture_divergence(divergence(f"C{number}"))

    server.answers.set()
    reporter.flush(10)

    assert len(server.events) == 1 + MAX_WAITING
    assert server.events[-1]["tags"]["command"] == f"C{MAX_WAITING - 1}"


def test_the_wait_at_the_end_is_two_seconds_at_most(server: SentryServer, start: Start) -> None:
    """By default, while a report hangs and others are behind it."""
    server.answers.clear()
    reporter = start()
    for number in range(10):
        reporter.capture_divergence(divergence(f"C{number}"))

    began = time.perf_counter()
    reporter.close()

    assert FLUSH_SECONDS == 2
    assert 1.9 < time.perf_counter() - began < 2.5


def test_flush_waits_no_longer_than_it_must(server: SentryServer, start: Start) -> None:
    """It returns when the last report has arrived, and reports go on afterwards."""
    server.delay_seconds = 0.05
    reporter = start()
    reporter.capture_divergence(divergence("GET"))
    began = time.perf_counter()
    reporter.flush()
    assert time.perf_counter() - began < 1
    assert len(server.events) == 1

    reporter.capture_divergence(divergence("TTL"))
    reporter.flush()
    assert len(server.events) == 2


def test_a_sentry_that_recovers_gets_what_comes_then(server: SentryServer, start: Start) -> None:
    """Errors are not remembered."""
    server.status = 500
    reporter = start()
    reporter.capture_divergence(divergence("GET"))
    reporter.flush()
    server.status = 200
    reporter.capture_divergence(divergence("TTL"))
    reporter.flush()

    assert [event["tags"]["command"] for event in server.events] == ["TTL"]


def test_too_many_requests_are_not_made_again(server: SentryServer, start: Start) -> None:
    """Sentry says how long it wants to be left alone."""
    server.status, server.headers = 429, {"Retry-After": "3600"}
    reporter = start()
    reporter.capture_divergence(divergence("GET"))
    reporter.flush()
    server.status = 200
    for number in range(50):
        reporter.capture_divergence(divergence(f"C{number}"))
    reporter.flush()

    assert server.events == []


def test_the_log_says_that_nothing_arrives_but_not_often(
    server: SentryServer, start: Start, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a minute, with a reason and without data; silence would look like success."""
    server.status = 403
    reporter = start()
    with caplog.at_level(logging.WARNING, "dualkv"):
        for now in (0.0, 10.0, 70.0):
            clock.now = 1000 + now
            for number in range(5):
                reporter.capture_divergence(divergence(f"C{now}{number}"))
            reporter.flush()

    lines = [record for record in caplog.records if record.name == "dualkv.sentry"]
    assert [line.getMessage() for line in lines] == ["a report did not reach Sentry"] * 2
    assert [vars(line)["reason"] for line in lines] == ["status_403"] * 2
    assert "alice" not in caplog.text


def test_trouble_of_our_own_does_not_reach_the_proxy(
    server: SentryServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A report that cannot even be made is a line in the log."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def fail() -> None:
        raise Unspeakable

    reporter = start()
    reporter.capture_exception(caught(fail), "mirror", "SET")
    reporter.capture_divergence(divergence(key=None))
    reporter.capture_divergence(divergence("TTL"))
    reporter.flush()

    assert server.events[-1]["tags"]["command"] == "TTL"
    assert "could not report to Sentry" in caplog.text


# --- starting


def test_without_a_dsn_nothing_happens() -> None:
    """And nothing is imported or started."""
    reporter = SentryReporter.start("", Clock())
    reporter.capture_divergence(divergence())
    reporter.capture_exception(ValueError(), "mirror")
    reporter.flush()
    reporter.close()

    assert reporter._quiet_until == {}


@pytest.mark.parametrize(
    "dsn",
    [
        "nonsense",
        "https://host/1",
        "https://key@host/project",
        "https://key:s3/cret@host/1",
        "ftp://key@host/1",
    ],
)
def test_a_dsn_that_is_none_is_refused_without_quoting_a_secret(dsn: str) -> None:
    """The error becomes a line on the terminal."""
    with pytest.raises(ValueError, match=r"DSN|KEY@HOST|scheme|public key") as refusal:
        SentryReporter.start(dsn, Clock())

    assert "s3" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    """With and without a DSN."""
    with pytest.raises(ValueError, match="a share is from 0 to 1"):
        SentryReporter.start("", Clock(), sample_rate=share)


def test_the_environment_is_production_unless_somebody_says_otherwise(
    server: SentryServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with every program that uses the SDK."""
    monkeypatch.delenv("SENTRY_ENVIRONMENT", raising=False)
    reporter = start()
    reporter.capture_divergence(divergence())

    assert the_event(server, reporter)["environment"] == "production"


# --- used without the proxy


def test_the_example_in_the_docstring_works(server: SentryServer) -> None:
    """Word by word; its report arrives."""
    (example,) = (
        test
        for test in doctest.DocTestFinder(recurse=False).find(
            SentryReporter, "SentryReporter", module, globs={"dsn": server.dsn}
        )
        if test.examples
    )

    result = doctest.DocTestRunner().run(example)

    assert (result.failed, result.attempted) == (0, len(example.examples))
    assert result.attempted >= 5
    (event,) = server.events
    assert event["environment"] == "staging"
    assert event["contexts"]["divergence"]["key"] == "user:1"


# --- the server that the tests use


def test_envelopes_are_read_as_the_protocol_has_them() -> None:
    """Items with a length and without, payloads with line ends, and none at all."""
    assert parse_envelope(b"{}\n") == ({}, [])
    with_length = b'{}\n{"type":"a","length":8}\n{"b":\n1}\n{"type":"c"}\n{"d":2}\n'
    assert parse_envelope(with_length) == (
        {},
        [({"type": "a", "length": 8}, {"b": 1}), ({"type": "c"}, {"d": 2})],
    )
    with pytest.raises(ValueError, match="does not end there"):
        parse_envelope(b'{}\n{"type":"a","length":9}\n{}\n')
