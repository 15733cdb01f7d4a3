"""Messages of both stores find their twins, and what finds none is judged."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualkv.core.pubsub_matching import (
    MAX_ALONE,
    Alone,
    Doubt,
    MessageMatcher,
    PubSubTally,
    Side,
    Watch,
)
from dualkv.core.subscriptions import Kind

WINDOW = 2.0
P, S = Side.PRIMARY, Side.SECONDARY


class Stage:
    """A matcher with a clock to turn, and a stream that has settled unless told otherwise."""

    def __init__(self, max_waiting: int = 1000, max_bytes: int = 10_000_000) -> None:
        self.tally = PubSubTally()
        self.matcher = MessageMatcher(WINDOW, self.tally, max_waiting, max_bytes)
        self.now = 100.0
        self.settled = math.inf
        self.alone: list[Alone] = []

    def watch(self, kind: Kind = Kind.CHANNEL, name: bytes = b"c") -> Watch:
        """Return a subscription that is certain."""
        watch = Watch(kind, name)
        self.matcher.confirm(watch, self.now)
        self.pass_time(2 * WINDOW)
        assert watch.is_certain
        return watch

    def hear(self, side: Side, watch: Watch, payload: bytes = b"x", channel: bytes = b"c") -> None:
        """Let a side deliver."""
        self.matcher.hear(side, watch, channel, payload, self.now)
        self.check()

    def pass_time(self, seconds: float, sweep_seconds: float = 0.5) -> None:
        """Let time go by, with a look at what waits now and then."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + sweep_seconds)
            self.alone += self.matcher.sweep(self.now, self.settled)
            self.check()

    def check(self) -> None:
        """The books add up."""
        tally = self.tally
        counted = 2 * tally.matched + tally.alone + tally.inconclusive.total() + tally.skipped
        assert tally.heard == counted + self.matcher.waiting
        assert tally.alone == len(self.alone)
        assert self.matcher.waiting_bytes >= 0

    @property
    def sides(self) -> list[Side]:
        """Who was alone."""
        return [one.side for one in self.alone]


@pytest.mark.parametrize("order", [(P, S), (S, P)])
def test_twins_match_whichever_comes_first(order: tuple[Side, Side]) -> None:
    """Messages arrive on the secondary before the primary, too."""
    stage = Stage()
    watch = stage.watch()
    for side in order:
        stage.hear(side, watch)
        stage.pass_time(WINDOW / 2)
    stage.pass_time(3 * WINDOW)

    assert (stage.tally.matched, stage.alone, stage.matcher.waiting) == (1, [], 0)


@pytest.mark.parametrize("side", [P, S])
def test_message_without_a_twin_is_alone_after_the_window(side: Side) -> None:
    """Not before it, and once."""
    stage = Stage()
    watch = stage.watch(Kind.PATTERN, b"c*")
    stage.hear(side, watch, b"y" * 1000)
    stage.pass_time(WINDOW * 0.9)
    assert stage.alone == []
    stage.pass_time(WINDOW * 3)

    assert [Alone(side, Kind.PATTERN, b"c*", b"c", b"y" * 256)] == stage.alone


def test_payloads_are_told_apart_behind_what_is_reported() -> None:
    """The hash is of the whole payload."""
    stage = Stage()
    watch = stage.watch()
    stage.hear(P, watch, b"y" * 1000 + b"1")
    stage.hear(S, watch, b"y" * 1000 + b"2")
    stage.pass_time(3 * WINDOW)

    assert stage.sides == [P, S]


def test_patterns_and_channels_are_apart() -> None:
    """A message that comes by a pattern has no twin that came by its channel."""
    stage = Stage()
    channel, pattern, other = stage.watch(), stage.watch(Kind.PATTERN, b"c"), stage.watch(Kind.PATTERN, b"*")
    stage.hear(P, channel)
    stage.hear(P, pattern)
    stage.hear(S, other)
    stage.pass_time(3 * WINDOW)

    assert stage.sides == [P, P, S]
    assert [one.pattern for one in stage.alone] == [b"", b"c", b"*"]


def test_equal_messages_are_counted_one_by_one() -> None:
    """Three on one side and two on the other: one is alone."""
    stage = Stage()
    watch = stage.watch()
    for side in (P, P, S, P, S):
        stage.hear(side, watch)
    stage.pass_time(3 * WINDOW)

    assert (stage.tally.matched, stage.sides) == (2, [P])


@pytest.mark.parametrize("channel", [b"__keyspace@0__:k", b"__keyevent@0__:expired", b"__redis__:invalidate"])
def test_what_servers_publish_of_themselves_is_not_compared(channel: bytes) -> None:
    """Each store expires on its own."""
    stage = Stage()
    watch = stage.watch(Kind.PATTERN, b"*")
    stage.hear(S, watch, channel=channel)
    stage.pass_time(3 * WINDOW)

    assert (stage.tally.skipped, stage.alone) == (1, [])


@pytest.mark.parametrize("side", [P, S])
def test_new_subscription_raises_no_alarm(side: Side) -> None:
    """Neither before the secondary has confirmed it nor while earlier messages are under way."""
    stage = Stage()
    watch = Watch(Kind.CHANNEL, b"c")
    stage.hear(side, watch, b"before")
    stage.matcher.confirm(watch, stage.now)
    stage.hear(side, watch, b"after")
    stage.pass_time(3 * WINDOW)

    assert stage.tally.inconclusive == {Doubt.STARTING: 2}
    assert (stage.alone, watch.is_certain) == ([], True)


def test_subscription_is_uncertain_while_earlier_messages_are_under_way() -> None:
    """What was published before it may be delivered by a secondary that is late."""
    stage = Stage()
    watch = Watch(Kind.CHANNEL, b"c")
    stage.matcher.confirm(watch, stage.now)
    stage.settled = stage.now
    stage.pass_time(10 * WINDOW)
    stage.hear(S, watch)
    stage.settled = math.inf
    stage.pass_time(0.9 * WINDOW)
    was_certain = watch.is_certain
    stage.pass_time(WINDOW)

    assert (was_certain, watch.is_certain) == (False, True)
    assert (stage.alone, stage.tally.inconclusive) == ([], {Doubt.STARTING: 1})


def test_nothing_is_judged_before_the_stream_has_settled() -> None:
    """The twin of a message may come as late as what is mirrored."""
    stage = Stage()
    watch = stage.watch()
    stage.settled = stage.now
    stage.hear(P, watch, b"late")
    stage.hear(P, watch, b"lost")
    stage.pass_time(20 * WINDOW)
    stage.settled = math.inf
    stage.hear(S, watch, b"late")
    stage.pass_time(WINDOW)

    assert (stage.tally.matched, stage.sides) == (1, [P])


def test_what_arrived_during_a_stall_is_heard_before_anything_is_judged() -> None:
    """The twin may be in the socket when the process gets to run again."""
    stage = Stage()
    watch, new = stage.watch(), Watch(Kind.CHANNEL, b"new")
    stage.matcher.confirm(new, stage.now)
    stage.hear(P, watch)
    stage.now += 10 * WINDOW
    stage.matcher.stalled(stage.now)
    stage.alone += stage.matcher.sweep(stage.now, math.inf)
    stage.hear(S, watch)
    stage.hear(S, new)
    stage.pass_time(3 * WINDOW)

    assert (stage.tally.matched, stage.alone) == (1, [])
    assert (stage.tally.inconclusive, new.is_certain) == ({Doubt.STARTING: 1}, True)


def test_ended_subscription_raises_no_alarm() -> None:
    """What waits for a twin waits in vain; a new subscription has nothing to do with it."""
    stage = Stage()
    watch = stage.watch()
    stage.hear(P, watch)
    stage.matcher.end(watch, Doubt.ENDED)
    stage.hear(S, Watch(Kind.CHANNEL, b"c"))
    stage.pass_time(3 * WINDOW)

    assert stage.tally.inconclusive == {Doubt.ENDED: 1, Doubt.STARTING: 1}


def test_lost_secondary_raises_no_alarm() -> None:
    """What waits may have been delivered to nobody, and what comes is compared with nothing."""
    stage = Stage()
    watch = stage.watch()
    stage.hear(P, watch, b"before")
    stage.matcher.suspend(watch, Doubt.SECONDARY_LOST)
    stage.matcher.disturb(Doubt.SECONDARY_LOST, stage.now)
    stage.hear(P, watch, b"meanwhile")
    stage.pass_time(3 * WINDOW)
    stage.hear(P, watch, b"much later")
    stage.pass_time(3 * WINDOW)

    assert (stage.alone, stage.tally.inconclusive) == ([], {Doubt.SECONDARY_LOST: 3})


def test_disturbance_passes() -> None:
    """A window after the last one, a message without a twin is a divergence again."""
    stage = Stage()
    watch = stage.watch()
    stage.matcher.disturb(Doubt.NOT_MIRRORED, stage.now)
    stage.hear(P, watch, b"dropped")
    stage.pass_time(2 * WINDOW)
    stage.hear(P, watch, b"missing")
    stage.pass_time(2 * WINDOW)

    assert (stage.tally.inconclusive, stage.sides) == ({Doubt.NOT_MIRRORED: 1}, [P])


def test_doubt_is_passed_on_to_the_next_equal_message() -> None:
    """The first was lost to the secondary for a reason; the twin of the second came to it instead."""
    stage = Stage()
    watch = Watch(Kind.CHANNEL, b"c")
    stage.hear(P, watch)
    stage.now += 1
    stage.matcher.confirm(watch, stage.now - 10 * WINDOW)
    assert stage.matcher.sweep(stage.now, math.inf) == []
    assert watch.is_certain
    stage.hear(S, watch)
    stage.hear(P, watch)
    stage.pass_time(3 * WINDOW)

    assert (stage.tally.matched, stage.tally.inconclusive, stage.alone) == (1, {Doubt.STARTING: 1}, [])


def test_doubt_that_nothing_inherits_is_forgotten() -> None:
    """A window later an equal message without a twin is a divergence."""
    stage = Stage()
    watch = Watch(Kind.CHANNEL, b"c")
    stage.hear(P, watch)
    stage.matcher.confirm(watch, stage.now)
    stage.hear(S, watch)
    stage.pass_time(3 * WINDOW)
    stage.hear(P, watch)
    stage.pass_time(3 * WINDOW)

    assert (stage.tally.matched, stage.sides, stage.matcher.waiting_bytes) == (1, [P], 0)


@pytest.mark.parametrize(("max_waiting", "max_bytes"), [(10, 10_000_000), (1000, 10_000)])
def test_what_waits_is_bounded(max_waiting: int, max_bytes: int) -> None:
    """What finds no room is counted, its twins raise no alarm, and later ones are compared again."""
    stage = Stage(max_waiting, max_bytes)
    watch = stage.watch()
    for number in range(100):
        stage.hear(P, watch, b"%d" % number)
    assert stage.matcher.waiting <= max_waiting
    assert stage.matcher.waiting_bytes <= max_bytes
    assert stage.tally.inconclusive == {Doubt.TOO_MANY: 100 - stage.matcher.waiting}
    for number in range(100):
        stage.hear(S, watch, b"%d" % number)
    stage.pass_time(3 * WINDOW)
    assert stage.alone == []
    stage.hear(P, watch)
    stage.pass_time(3 * WINDOW)

    assert stage.sides == [P]


def test_divergences_are_told_in_portions() -> None:
    """A store that delivers nothing at all does not stop the rest of the work."""
    stage = Stage(10 * MAX_ALONE)
    watch = stage.watch()
    for number in range(2 * MAX_ALONE + 1):
        stage.hear(P, watch, b"%d" % number)
    stage.now += WINDOW
    portions = [len(stage.matcher.sweep(stage.now, math.inf)) for _ in range(4)]

    assert portions == [MAX_ALONE, MAX_ALONE, 1, 0]


def test_close_counts_what_waits() -> None:
    """Nothing is left, and nothing is reported."""
    stage = Stage()
    watch = stage.watch()
    stage.hear(P, watch)
    stage.hear(S, Watch(Kind.CHANNEL, b"new"))
    stage.matcher.close()
    stage.check()

    assert stage.tally.inconclusive == {Doubt.SHUTDOWN: 1, Doubt.STARTING: 1}
    assert (stage.matcher.waiting, stage.matcher.waiting_bytes) == (0, 0)


# --- any order of events

PAYLOADS = st.sampled_from([b"a", b"b", b"c"])
LATENCY = st.floats(0, WINDOW * 0.9)


@given(st.lists(st.tuples(st.floats(0, 20), PAYLOADS, LATENCY, LATENCY), max_size=60))
def test_no_alarm_if_every_message_comes_on_both_sides(
    published: list[tuple[float, bytes, float, float]],
) -> None:
    """Whatever the order, the payloads and the delays within the window."""
    stage = Stage()
    watch = stage.watch()
    begin = stage.now
    deliveries = [
        (at + late, side, payload)
        for at, payload, *latencies in published
        for side, late in zip((P, S), latencies, strict=True)
    ]
    for at, side, payload in sorted(deliveries, key=lambda delivery: delivery[0]):
        stage.pass_time(begin + at - stage.now)
        stage.hear(side, watch, payload)
    stage.pass_time(3 * WINDOW)

    assert (stage.alone, stage.tally.matched, stage.matcher.waiting) == ([], len(published), 0)


@given(
    st.lists(st.tuples(st.floats(0, 20), PAYLOADS, LATENCY, LATENCY), max_size=60),
    st.floats(0, 20),
    st.floats(0, 5),
)
def test_no_alarm_whenever_the_secondary_is_subscribed(
    published: list[tuple[float, bytes, float, float]], subscribed_at: float, lag: float
) -> None:
    """The secondary delivers what it gets once it is subscribed, the primary all: no pair is whole by right.

    The secondary's subscription is executed up to a quarter of a window before its confirmation is seen, and
    messages get there with a lag.
    """
    stage = Stage()
    watch = Watch(Kind.CHANNEL, b"c")
    begin = stage.now
    events: list[tuple[float, Side | None, bytes]] = [(subscribed_at + 0.2 * WINDOW, None, b"")]
    for at, payload, late, later in published:
        events.append((at + late / 5, P, payload))
        if at + lag >= subscribed_at:
            events.append((at + lag + later / 5, S, payload))
    for at, side, payload in sorted(events, key=lambda event: event[0]):
        stage.settled = begin + at - lag
        stage.pass_time(begin + at - stage.now, 0.25)
        if side is None:
            stage.matcher.confirm(watch, stage.now)
        else:
            stage.hear(side, watch, payload)
    stage.settled = math.inf
    stage.pass_time(5 * WINDOW)

    assert stage.alone == []
    assert (watch.is_certain, stage.matcher.waiting, stage.matcher.waiting_bytes) == (True, 0, 0)


@given(st.lists(st.tuples(st.sampled_from(Side), PAYLOADS, st.floats(0, 0.01)), max_size=80))
def test_what_is_alone_is_the_difference_of_the_multisets(
    messages: list[tuple[Side, bytes, float]],
) -> None:
    """For messages that all come within a window: each surplus one is reported, once."""
    stage = Stage()
    watch = stage.watch()
    surplus: Counter[bytes] = Counter()
    for side, payload, pause in messages:
        stage.now += pause
        stage.hear(side, watch, payload)
        surplus[payload] += 1 if side is P else -1
    stage.pass_time(5 * WINDOW)

    assert stage.tally.inconclusive.total() == 0
    assert +surplus == Counter([one.excerpt for one in stage.alone if one.side is P])
    assert -surplus == Counter([one.excerpt for one in stage.alone if one.side is S])


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(Side), st.integers(0, 2), PAYLOADS),
            st.sampled_from(["disturb", "end", "suspend", "confirm", "lag", "settle"]),
            st.floats(0, 3),
        ),
        max_size=80,
    ),
    st.integers(1, 20),
)
def test_books_add_up_whatever_happens(
    events: list[tuple[Side, int, bytes] | str | float], max_waiting: int
) -> None:
    """At every moment each message is accounted for once, and the bounds hold."""
    stage = Stage(max_waiting)
    watches = [Watch(Kind.CHANNEL, b"%d" % number) for number in range(3)]
    for event in events:
        if isinstance(event, float):
            stage.pass_time(event)
        elif isinstance(event, tuple):
            side, number, payload = event
            stage.hear(side, watches[number], payload)
        elif event == "disturb":
            stage.matcher.disturb(Doubt.NOT_MIRRORED, stage.now)
        elif event == "end":
            stage.matcher.end(watches[0], Doubt.ENDED)
            watches[0] = Watch(Kind.CHANNEL, b"0")
        elif event == "suspend":
            stage.matcher.suspend(watches[1], Doubt.SECONDARY_LOST)
        elif event == "confirm":
            for watch in watches:
                stage.matcher.confirm(watch, stage.now)
        else:
            stage.settled = stage.now if event == "lag" else math.inf
        assert stage.matcher.waiting <= max_waiting
        stage.check()
    stage.matcher.close()
    stage.check()

    assert (stage.matcher.waiting, stage.matcher.waiting_bytes) == (0, 0)
