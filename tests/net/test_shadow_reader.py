"""Comparing two stores without a proxy: what is said, what is certain, what is raised."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import dualkv
from dualkv.config import BackendOptions
from dualkv.core.compare import Outcome
from dualkv.core.confirming import READINGS
from dualkv.core.divergence import DivergenceKind
from dualkv.errors import BackendUnavailable, ConnectionLost
from dualkv.net.shadow_reader import ShadowReader, open_shadow_reader
from dualkv.resp import encode
from tests.support.fake_backend import Answer, FakeBackend, running_fake
from tests.support.sentry_server import SentryServer
from tests.support.servers import Pair
from tests.support.stores import open_store

HERE, THERE, NOWHERE = encode.bulk("here"), encode.bulk("there"), b"$-1\r\n"
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "compare-from-python.md"
Args = tuple[bytes, ...]


@attrs.define(eq=False)
class Two:
    """A reader between two scripted stores."""

    reader: ShadowReader
    primary: FakeBackend
    secondary: FakeBackend


@asynccontextmanager
async def reading(primary: Answer, secondary: Answer, **options: Any) -> AsyncIterator[Two]:
    """Run a reader between stores that answer so."""
    async with (
        running_fake(primary) as one,
        running_fake(secondary) as other,
        open_shadow_reader(one.address, other.address, confirm_after_seconds=0.01, **options) as reader,
    ):
        yield Two(reader, one, other)


def answering(value: bytes, ttl_milliseconds: int = -1) -> Answer:
    """Return what answers every read with *value*, of a key that has so long to live."""
    return lambda args: b":%d\r\n" % ttl_milliseconds if args[0] == b"PTTL" else value


def in_turn(*values: bytes) -> Answer:
    """Return what answers each read with the next of *values*, and from then on with the last one."""
    left = list(values)

    def answer(args: Args) -> bytes:
        if args[0] == b"PTTL":
            return b":-1\r\n"
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


async def test_equal_values_match_at_once() -> None:
    """One reading of each store is enough."""
    async with reading(answering(HERE), answering(HERE)) as two:
        found = await two.reader.compare("GET", "k")

    assert (found.outcome, found.readings, found.is_match, found.is_transient) == (
        Outcome.MATCH, 1, True, False,
    )  # fmt: skip
    assert (found.expected, found.actual, found.divergence) == (HERE, HERE, None)


async def test_replies_are_compared_by_their_meaning() -> None:
    """A set in another order is the same set."""
    async with reading(answering(b"*2\r\n+a\r\n+b\r\n"), answering(b"*2\r\n+b\r\n+a\r\n")) as two:
        assert (await two.reader.compare("SMEMBERS", "s")).is_match


@pytest.mark.parametrize(
    ("expected", "actual", "kind"),
    [
        (HERE, NOWHERE, DivergenceKind.MIGRATION_GAP),
        (HERE, THERE, DivergenceKind.DATA_MISMATCH),
        (NOWHERE, THERE, DivergenceKind.EXTRA_DATA),
    ],
)
async def test_difference_that_stays_is_a_divergence(
    expected: bytes, actual: bytes, kind: DivergenceKind
) -> None:
    """It is read as often as in the proxy, and told with its kind and both values."""
    async with reading(answering(expected), answering(actual)) as two:
        found = await two.reader.compare("GET", "k")

        assert (found.outcome.value, found.readings) == (kind.value, READINGS)
        assert found.divergence is not None
        assert (found.divergence.kind, found.divergence.key, found.divergence.args) == (
            kind, b"k", (b"GET", b"k"),
        )  # fmt: skip
        assert (found.divergence.expected, found.divergence.actual) == (expected, actual)
        assert two.secondary.commands.count((b"GET", b"k")) == READINGS


async def test_difference_that_heals_is_transient() -> None:
    """A store that was only late is no divergence."""
    async with reading(answering(HERE), in_turn(THERE, HERE)) as two:
        found = await two.reader.compare("GET", "k")

    assert (found.outcome, found.readings, found.is_transient) == (Outcome.MATCH, 2, True)


async def test_key_that_somebody_writes_is_inconclusive() -> None:
    """What the primary answers changes from one reading to the next: the secondary may only be late."""
    async with reading(in_turn(HERE, encode.bulk("anew")), answering(THERE)) as two:
        found = await two.reader.compare("GET", "k")

    assert (found.outcome, found.reason, found.divergence) == (
        Outcome.INCONCLUSIVE, "written_elsewhere", None,
    )  # fmt: skip


async def test_key_that_is_about_to_expire_is_inconclusive() -> None:
    """It may be gone on one store a moment before it is on the other."""
    async with reading(answering(HERE, ttl_milliseconds=900), answering(NOWHERE)) as two:
        found = await two.reader.compare("GET", "k")

    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, "near_expiry")


async def test_error_of_the_secondary_is_no_match() -> None:
    """It is told as an error, with whose it is."""
    async with reading(answering(HERE), answering(b"-ERR broken\r\n")) as two:
        found = await two.reader.compare("GET", "k")

    assert (found.outcome, found.reason, found.is_match) == (Outcome.ERROR, "secondary", False)


@pytest.mark.parametrize("args", [("SET", "k", "v"), ("RANDOMKEY",), ("NOSUCH", "k")])
async def test_what_is_not_compared_is_refused(args: tuple[str, ...]) -> None:
    """Writes above all: nothing of them is sent."""
    async with reading(answering(HERE), answering(HERE)) as two:
        with pytest.raises(ValueError, match="is not compared"):
            await two.reader.compare(*args)

        assert two.primary.commands == two.secondary.commands == []


async def test_several_tasks_compare_at_once() -> None:
    """Their readings do not get mixed up, and one that is confirmed does not hold up the others."""
    found: dict[str, bool] = {}

    def half(args: Args) -> bytes:
        return b":-1\r\n" if args[0] == b"PTTL" else NOWHERE if args[1] == b"odd" else encode.bulk(args[1])

    async with (
        reading(lambda args: b":-1\r\n" if args[0] == b"PTTL" else encode.bulk(args[1]), half) as two,
        trio.open_nursery() as nursery,
    ):

        async def compare(name: str) -> None:
            found[name] = (await two.reader.compare("GET", name)).is_match

        for name in ("odd", "b", "c"):
            nursery.start_soon(compare, name)

    assert found == {"b": True, "c": True, "odd": False}


async def test_store_that_is_away_is_an_exception() -> None:
    """Nothing was compared, so nothing is said."""
    async with running_fake(answering(HERE)) as one:
        with pytest.RaisesGroup(BackendUnavailable):
            async with open_shadow_reader(one.address, "127.0.0.1:1") as reader:
                await reader.compare("GET", "k")


async def test_store_that_hangs_up_is_an_exception_once() -> None:
    """The next comparison connects again."""
    async with reading(answering(HERE), lambda _: None) as two:
        with pytest.raises(ConnectionLost):
            await two.reader.compare("GET", "k")
        two.secondary.answer = answering(HERE)

        assert (await two.reader.compare("GET", "k")).is_match


async def test_store_that_keeps_silent_is_an_exception() -> None:
    """It has as long as the options say."""
    async with running_fake(answering(HERE)) as one, running_fake(lambda _: b"") as other:
        silent = BackendOptions("other", "127.0.0.1", other.port, read_timeout_seconds=0.05)
        with pytest.RaisesGroup(pytest.RaisesExc(ConnectionLost, match=r"no answer in 0\.05 s")):
            async with open_shadow_reader(one.address, silent) as reader:
                await reader.compare("GET", "k")


async def test_connections_are_closed_at_the_end() -> None:
    """Whoever opened the reader has nothing left to close."""
    async with running_fake(answering(HERE)) as one, running_fake(answering(HERE)) as other:
        async with open_shadow_reader(one.address, other.address) as reader:
            await reader.compare("GET", "k")
            assert [fake.last.is_gone.is_set() for fake in (one, other)] == [False, False]
        with trio.fail_after(5):
            await one.last.is_gone.wait()
            await other.last.is_gone.wait()


# --- the examples of the documentation


@pytest.fixture(name="sentry")
def _sentry() -> Iterator[SentryServer]:
    """A Sentry on this machine."""
    with SentryServer() as server:
        yield server


def example(name: str) -> Callable[..., Any]:
    """Return a function of the guide, as it stands there."""
    namespace: dict[str, Any] = {}
    (block,) = (
        found
        for found in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        if f"async def {name}(" in found
    )
    exec(block, namespace)
    function: Callable[..., Any] = namespace[name]
    return function


@pytest.mark.e2e
async def test_the_example_of_the_guide_works(pair: Pair) -> None:
    """Word by word, between real servers."""
    with open_store(pair.primary) as one, open_store(pair.secondary) as other:
        one.mset({"same": "v", "gap": "v", "other": "v"})
        other.mset({"same": "v", "other": "w"})

    lines = await example("check")(pair.primary.address, pair.secondary.address, ["same", "gap", "other"])

    assert lines == [
        f"gap: migration_gap in {READINGS} readings", f"other: data_mismatch in {READINGS} readings",
    ]  # fmt: skip


@pytest.mark.e2e
async def test_the_example_with_sentry_works(pair: Pair, sentry: SentryServer) -> None:
    """The report arrives, with the key."""
    with open_store(pair.primary) as store:
        store.set("gap", "v")

    outcome = await example("watch")(sentry.dsn, pair.primary.address, pair.secondary.address, "gap")

    assert outcome.divergence.kind is dualkv.DivergenceKind.MIGRATION_GAP
    (event,) = sentry.events
    assert (event["environment"], event["contexts"]["divergence"]["key"]) == ("staging", "gap")
