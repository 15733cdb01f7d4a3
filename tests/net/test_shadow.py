"""A difference is read again before it is reported; what could not be compared is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from dualkv.commands.table import find_command
from dualkv.config import ProxyConfig, ProxyMode
from dualkv.core.confirming import READINGS, Suspicion
from dualkv.core.divergence import DivergenceKind
from dualkv.core.divergence_ring import DivergenceFilter
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.net.shadow import MAX_SUSPICIONS, ShadowJudge
from dualkv.net.writer import DualWriter, open_writer
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.reports import DivergenceReports
from dualkv.observe.sentry import SentryReporter
from dualkv.resp import encode
from tests.core.building import planned
from tests.net.building import Clock
from tests.support.fake_backend import Answer, FakeBackend, running_fake
from tests.support.proxy import wait_until

GET = find_command(b"GET").index
HERE, THERE, NOWHERE = encode.bulk("here"), encode.bulk("there"), b"$-1\r\n"


CONFIRM_AFTER_SECONDS = 1.0


def shadow_read(line: str = "GET k", expected: bytes = HERE) -> StreamItem:
    """Return a shadow read."""
    plan, request = planned(*line.split())
    return StreamItem(plan, Queue.SHADOW, request, 0.0, expected=expected)


def again(item: StreamItem, expected: bytes = HERE, ttl_milliseconds: int | None = -1) -> StreamItem:
    """Return the next reading of what has differed."""
    assert item.suspicion is not None
    item.suspicion.ttl_milliseconds = ttl_milliseconds
    return attrs.evolve(item, expected=expected)


@attrs.define(eq=False)
class Reader:
    """A shadow reader whose re-reads are written down."""

    reader: ShadowJudge
    metrics: ProxyMetrics
    reread: list[StreamItem]
    """What was to be read again, by the read that showed it first."""


def make_reader(clock: Callable[[], float]) -> Reader:
    """Return a reader that nobody runs yet."""
    metrics = ProxyMetrics()
    reread: list[StreamItem] = []

    async def reread_one(suspicion: Suspicion) -> None:
        await trio.lowlevel.checkpoint()
        reread.append(suspicion.item)

    reports = DivergenceReports(metrics, SentryReporter.start("", clock), clock)
    return Reader(ShadowJudge(metrics, reports, reread_one, clock), metrics, reread)


# --- the reader alone ---------------------------------------------------------------------------------


def test_difference_is_not_reported_at_once() -> None:
    """The first difference is a suspicion: nothing is reported, nothing counted as a match."""
    made = make_reader(Clock())
    made.reader.compare(shadow_read(), THERE)

    assert made.metrics.divergences == {}
    assert (made.metrics.shadow_matches, made.metrics.shadow_transient) == (0, 0)


@pytest.mark.parametrize(
    ("actual", "kind"),
    [(THERE, DivergenceKind.DATA_MISMATCH), (NOWHERE, DivergenceKind.MIGRATION_GAP)],
)
def test_difference_that_stays_is_reported_once(actual: bytes, kind: DivergenceKind) -> None:
    """What differs each time it is read again is reported, with its kind and how it was confirmed."""
    clock = Clock()
    made = make_reader(clock)
    item = shadow_read()
    made.reader.compare(item, actual)
    for _ in range(READINGS - 1):
        assert made.metrics.divergences == {}
        clock.now += CONFIRM_AFTER_SECONDS
        made.reader.compare(again(item), actual)

    assert made.metrics.divergences == {(GET, kind): 1}
    (divergence,) = made.metrics.findings.ring.find(DivergenceFilter(), 10)
    assert (divergence.readings, divergence.confirmed_over_seconds) == (READINGS, READINGS - 1.0)
    assert (divergence.key, divergence.args, divergence.kind) == (b"k", (b"GET", b"k"), kind)
    assert len(made.reader.confirming) == 0


def test_difference_that_is_gone_is_transient() -> None:
    """What is equal when it is read again was no divergence; it counts as such, not as a match."""
    made = make_reader(Clock())
    item = shadow_read()
    made.reader.compare(item, THERE)
    made.reader.compare(again(item), HERE)

    assert (made.metrics.shadow_matches, made.metrics.shadow_transient) == (0, 1)
    assert made.metrics.divergences == {}


def test_other_bytes_with_the_same_meaning_match() -> None:
    """A set in another order is the same set."""
    made = make_reader(Clock())
    made.reader.compare(shadow_read("SMEMBERS s", b"*2\r\n+a\r\n+b\r\n"), b"*2\r\n+b\r\n+a\r\n")

    assert made.metrics.shadow_matches == 1


def test_what_cannot_be_compared_is_counted() -> None:
    """A reply that makes no value is no match and no divergence."""
    made = make_reader(Clock())
    made.reader.compare(shadow_read(), b"%1\r\n*1\r\n+a\r\n+b\r\n")  # a map whose key cannot be a key

    assert made.metrics.shadow_inconclusive == {"not_comparable": 1}
    assert (made.metrics.shadow_matches, made.metrics.divergences) == (0, {})


def test_suspicions_are_bounded() -> None:
    """Beyond so many differences that wait, more are counted as not checked."""
    made = make_reader(Clock())
    for number in range(MAX_SUSPICIONS + 5):
        made.reader.compare(shadow_read(f"GET k{number}"), THERE)

    assert made.metrics.shadow_inconclusive == {"too_many_differences": 5}


def test_same_read_is_confirmed_once_at_a_time() -> None:
    """While a difference waits for its confirmation, the same read proves nothing more."""
    made = make_reader(Clock())
    made.reader.compare(shadow_read(), THERE)
    made.reader.compare(shadow_read(), THERE)

    assert len(made.reader.confirming) == 1
    assert made.metrics.shadow_inconclusive == {"being_confirmed": 1}


def test_key_that_somebody_else_changes_is_inconclusive() -> None:
    """Another proxy that writes it may be behind at each reading."""
    made = make_reader(Clock())
    item = shadow_read()
    made.reader.compare(item, THERE)
    made.reader.compare(again(item, encode.bulk("changed")), THERE)

    assert made.metrics.shadow_inconclusive == {"written_elsewhere": 1}
    assert len(made.reader.confirming) == 0


def test_key_that_this_proxy_changes_is_compared_all_the_same() -> None:
    """Its writes have their positions, so each reading is exact."""
    made = make_reader(Clock())
    item = shadow_read()
    made.reader.compare(item, THERE)
    for number in range(READINGS - 1):
        plan, request = planned("SET", "k", str(number))
        made.reader.confirming.written([StreamItem(plan, Queue.WRITE, request, 0.0)])
        made.reader.compare(again(item, encode.bulk(str(number))), THERE)

    assert made.metrics.divergences == {(GET, DivergenceKind.DATA_MISMATCH): 1}


@pytest.mark.parametrize(("ttl_milliseconds", "is_told"), [(0, False), (900, False), (60_000, True)])
def test_key_that_is_about_to_expire_is_inconclusive(ttl_milliseconds: int, is_told: bool) -> None:
    """It may be gone on one store a moment before it is on the other."""
    made = make_reader(Clock())
    item = shadow_read()
    made.reader.compare(item, NOWHERE)
    for _ in range(READINGS - 1):
        made.reader.compare(again(item, ttl_milliseconds=ttl_milliseconds), NOWHERE)
        if not is_told:
            break

    assert made.metrics.shadow_inconclusive == ({} if is_told else {"near_expiry": 1})
    assert made.metrics.divergences.total() == is_told


async def test_rereading_waits_a_little(autojump_clock: trio.testing.MockClock) -> None:
    """Suspicions are read again in order, each a little after it arose."""
    assert autojump_clock.autojump_threshold == 0
    made = make_reader(trio.current_time)
    items = [shadow_read(), shadow_read("GET l")]
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.reader.run)
        for item in items:
            made.reader.compare(item, THERE)
        await trio.sleep(CONFIRM_AFTER_SECONDS * 0.9)
        assert made.reread == []
        await trio.sleep(CONFIRM_AFTER_SECONDS)
        nursery.cancel_scope.cancel("enough")

    assert made.reread == items
    assert trio.current_time() - began < 3 * CONFIRM_AFTER_SECONDS


async def test_suspicions_left_at_the_end_are_counted() -> None:
    """Every difference that was not read again before the end is counted as not checked."""
    made = make_reader(Clock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.reader.run)
        for number in range(3):
            made.reader.compare(shadow_read(f"GET k{number}"), THERE)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel("enough")

    assert made.metrics.shadow_inconclusive == {"shutdown": 3}


# --- between two backends -----------------------------------------------------------------------------


@attrs.define(eq=False)
class Shadowed:
    """A writer between two scripted backends."""

    writer: DualWriter
    primary: FakeBackend
    secondary: FakeBackend

    @property
    def metrics(self) -> ProxyMetrics:
        """Its counters."""
        return self.writer.metrics

    def reads(self, fake: FakeBackend) -> int:
        """Return how often *fake* was asked for the value."""
        return fake.commands.count((b"GET", b"k"))


@asynccontextmanager
async def shadowing(primary: Answer, secondary: Answer) -> AsyncIterator[Shadowed]:
    """Run a shadowing writer between backends that answer so."""
    async with running_fake(primary) as one, running_fake(secondary) as other:
        config = ProxyConfig(
            mode=ProxyMode.DUAL_WRITE_SHADOW, primary=one.address, secondary=other.address, drain_seconds=5.0,
            confirm_after_seconds=0.1,
        )  # fmt: skip
        async with open_writer(config) as writer:
            yield Shadowed(writer, one, other)
        writer.metrics.check_ledgers()


async def test_confirmed_difference_is_reported_once() -> None:
    """A value that differs is read some times from both stores, and reported once."""
    async with shadowing(lambda _: HERE, lambda _: THERE) as shadowed:
        assert await shadowed.writer.read("GET", "k") == HERE
        await wait_until(lambda: bool(shadowed.metrics.divergences))

        assert shadowed.metrics.divergences == {(GET, DivergenceKind.DATA_MISMATCH): 1}
        assert (shadowed.reads(shadowed.primary), shadowed.reads(shadowed.secondary)) == (READINGS,) * 2


async def test_healed_difference_is_transient() -> None:
    """A difference that is gone at the second reading is no alarm."""
    async with shadowing(lambda _: HERE, lambda _: THERE) as shadowed:
        await shadowed.writer.read("GET", "k")
        await wait_until(lambda: shadowed.reads(shadowed.secondary) == 1)
        shadowed.secondary.answer = lambda _: HERE
        await wait_until(lambda: shadowed.metrics.shadow_transient == 1)

        assert shadowed.metrics.divergences == {}
        assert shadowed.metrics.shadow_matches == 0


async def test_difference_while_the_primary_is_away_is_inconclusive() -> None:
    """A difference that cannot be read again is counted as not checked."""
    async with shadowing(lambda _: HERE, lambda _: THERE) as shadowed:
        await shadowed.writer.read("GET", "k")
        await wait_until(lambda: shadowed.reads(shadowed.secondary) == 1)
        shadowed.primary.hangs_up_at_once = True
        shadowed.primary.last.hang_up()
        await wait_until(lambda: shadowed.metrics.shadow_inconclusive.total() == 1)

        assert shadowed.metrics.shadow_inconclusive == {"primary_unreachable": 1}
        assert shadowed.metrics.divergences == {}


async def test_lane_lost_while_reading_again_is_inconclusive() -> None:
    """A re-read without an outcome is counted as not checked."""
    async with shadowing(lambda _: HERE, lambda _: THERE) as shadowed:
        await shadowed.writer.read("GET", "k")
        shadowed.primary.answer = lambda _: None
        await wait_until(lambda: shadowed.metrics.shadow_inconclusive.total() == 1)

        assert shadowed.metrics.shadow_inconclusive == {"primary_unreachable": 1}


async def test_error_at_the_second_reading_is_inconclusive() -> None:
    """A difference whose key cannot be read any more was neither confirmed nor healed: not checked."""
    async with shadowing(lambda _: HERE, lambda _: THERE) as shadowed:
        await shadowed.writer.read("GET", "k")
        shadowed.primary.answer = lambda _: b"-WRONGTYPE no\r\n"
        await wait_until(lambda: shadowed.reads(shadowed.primary) == 2)
        await wait_until(lambda: shadowed.metrics.shadow_inconclusive.total() == 1, seconds=0.2)


async def test_difference_that_is_read_again_during_the_drain_does_no_harm() -> None:
    """A suspicion that comes due while the queue is drained is counted, and the queue is drained."""
    async with shadowing(lambda _: HERE, lambda _: THERE) as shadowed:
        await shadowed.writer.read("GET", "k")
        await wait_until(lambda: shadowed.reads(shadowed.secondary) == 1)
        shadowed.secondary.replies.shut()
        await shadowed.writer.write("SET", "k", "v")
        shadowed.writer.close(5)
        await wait_until(lambda: shadowed.reads(shadowed.primary) == 2)
        await trio.testing.wait_all_tasks_blocked()
        shadowed.secondary.replies.open()

    assert shadowed.metrics.ledger(Queue.WRITE).applied == 1
    assert shadowed.metrics.shadow_inconclusive == {"shutdown": 1}
