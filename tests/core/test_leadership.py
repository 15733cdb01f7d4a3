"""Which node leads: whom to ask, what to believe, whose connections have to go."""

from __future__ import annotations

import pytest

from dualkv.config.backends import Address
from dualkv.core.leadership import (
    MAX_FORMER,
    Leadership,
    Learnt,
    Refresh,
    RefreshSchedule,
    Told,
    is_not_leader,
    told_by_info,
    told_by_sentinel,
)
from dualkv.resp import encode

A, B, C, D = (("a", 1), ("b", 2), ("c", 3), ("d", 4))
NOBODY = Told()
SILENT = Told(tells=False)


def names(leader: Address) -> Told:
    """Return the words of a node that knows who leads."""
    return Told(leader)


def led_by(leader: Address, *seeds: Address) -> Leadership:
    """Return what is known when *leader* has been found."""
    leadership = Leadership(seeds or (A, B))
    leadership.learn({leadership.seeds[0]: names(leader)})
    return leadership


# --- whom to ask


def test_at_first_each_seed_is_asked_in_order() -> None:
    """Nothing is known, so the order of the settings counts."""
    leadership = Leadership((A, B, C))

    assert leadership.to_ask() == [A, B, C]
    assert (leadership.leader, leadership.target) == (None, None)


def test_the_known_leader_is_asked_first_and_then_each_seed_once() -> None:
    """Be it a seed or not."""
    assert led_by(B).to_ask() == [B, A]
    assert led_by(D).to_ask() == [D, A, B]


def test_of_sentinels_the_one_that_answered_last_is_asked_first() -> None:
    """The leader is no Sentinel: it is not asked."""
    leadership = Leadership((A, B), has_sentinels=True)

    leadership.learn({A: None, B: names(D)})

    assert leadership.to_ask() == [B, A]


# --- what follows from a round


def test_the_first_leader_is_no_move() -> None:
    """Nobody is connected to another node."""
    leadership = Leadership((A, B))

    assert leadership.learn({A: None, B: names(D)}) == Learnt(Refresh.FOUND)
    assert (leadership.leader, leadership.target) == (D, D)


def test_another_leader_is_a_move() -> None:
    """Connections to the former one are to be replaced."""
    leadership = led_by(A)

    assert leadership.learn({A: names(B)}) == Learnt(Refresh.FOUND, has_moved=True)
    assert leadership.learn({B: names(B)}) == Learnt(Refresh.FOUND)


def test_without_a_leader_commands_go_nowhere() -> None:
    """Nodes that know of leaders and of none now are not sent anything that needs one."""
    leadership = led_by(A)

    assert leadership.learn({A: NOBODY, B: NOBODY}) == Learnt(Refresh.NO_LEADER)
    assert (leadership.leader, leadership.target) == (None, None)
    assert leadership.describe() == "no leader at a:1, b:2"


@pytest.mark.parametrize(("leader", "has_moved"), [(A, False), (B, True)])
def test_after_a_time_without_leader_the_former_one_is_compared(leader: Address, has_moved: bool) -> None:
    """Connections to a leader that was elected again are still good."""
    leadership = led_by(A)
    leadership.learn({A: NOBODY})

    assert leadership.learn({A: names(leader)}) == Learnt(Refresh.FOUND, has_moved)


def test_if_nobody_answers_the_leader_stays() -> None:
    """It may be the asking that is disturbed."""
    leadership = led_by(A)

    assert leadership.learn({A: None, B: None}) == Learnt(Refresh.UNREACHABLE)
    assert leadership.target == A


def test_a_store_that_does_not_tell_is_used_by_the_first_seed_that_answers() -> None:
    """One address of a plain server may be named with ``--leader-aware``, too."""
    leadership = Leadership((A, B))

    assert leadership.learn({A: None, B: SILENT}) == Learnt(Refresh.NOT_TOLD)
    assert (leadership.leader, leadership.target) == (None, B)


def test_who_tells_counts_more_than_who_does_not() -> None:
    """A node that knows that there is no leader is believed."""
    leadership = Leadership((A, B))

    assert leadership.learn({A: SILENT, B: NOBODY}).outcome is Refresh.NO_LEADER


# --- subscribing


def test_subscriptions_go_to_the_leader_and_without_one_to_the_seeds() -> None:
    """The seed that answered last comes first."""
    leadership = led_by(D)
    assert leadership.for_subscribing() == [D]

    leadership.learn({A: None, B: NOBODY})

    assert leadership.for_subscribing() == [B, A]
    assert Leadership((A, B)).for_subscribing() == [A, B]


def test_nobody_subscribes_at_a_sentinel() -> None:
    """It has other channels."""
    assert Leadership((A, B), has_sentinels=True).for_subscribing() == []


# --- former leaders


def node(number: int) -> Address:
    """Return one of many nodes."""
    return "n", number


def test_of_former_leaders_the_oldest_has_to_go_when_there_are_too_many() -> None:
    """Sixteen may keep connections; seeds and the leader are not counted."""
    leadership = led_by(node(0), A, B)
    for number in range(1, MAX_FORMER + 1):
        assert leadership.learn({A: names(node(number))}).to_close == ()

    assert leadership.learn({A: names(B)}).to_close == (node(0),)
    assert leadership.learn({A: names(A)}).to_close == ()
    assert leadership.learn({A: names(node(99))}).to_close == ()
    assert leadership.former == [node(number) for number in range(1, MAX_FORMER + 1)]


def test_who_leads_again_is_no_former_leader() -> None:
    """When it has to go again it is the youngest of them."""
    leadership = led_by(node(0), A)
    for number in (1, 2, 0, 3):
        leadership.learn({A: names(node(number))})

    assert leadership.former == [node(1), node(2), node(0)]


# --- which round is waited for


def state(schedule: RefreshSchedule) -> tuple[bool, bool]:
    """Return whether a round is due, and whether nobody has to wait."""
    return schedule.is_due, schedule.is_settled


def test_everybody_waits_for_the_first_round() -> None:
    """Nothing is known before it has ended."""
    schedule = RefreshSchedule()
    states = [state(schedule)]
    schedule.begin()
    states.append(state(schedule))
    schedule.end()
    states.append(state(schedule))

    assert states == [(True, False), (False, False), (False, True)]


def test_who_doubts_during_a_round_needs_the_next_one() -> None:
    """The answers may be older than the doubt."""
    schedule = RefreshSchedule()
    schedule.begin()
    schedule.ask()
    schedule.end()
    states = [state(schedule)]
    schedule.begin()
    schedule.end()
    states.append(state(schedule))

    assert states == [(True, False), (False, True)]


def test_all_who_doubt_between_two_rounds_share_the_next_one() -> None:
    """However many they are."""
    schedule = RefreshSchedule()
    schedule.begin()
    schedule.end()
    for _ in range(3):
        schedule.ask()

    schedule.begin()
    schedule.end()

    assert schedule.is_settled


# --- what nodes say


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("role:master\r\nraft_leader_redis:b:2\r\n", Told(B)),
        ("role:slave\r\nraft_leader_redis:[::1]:2\r\n", Told(("::1", 2))),
        ("role:slave\r\nraft_leader_redis::2\r\n", Told(("a", 2))),
        ("role:slave\r\nraft_leader_redis:\r\n", NOBODY),
        ("role:slave\r\nraft_leader_redis:nonsense\r\n", NOBODY),
        ("role:master\r\n", Told(A)),
        ("role:slave\r\nmaster_host:b\r\n", NOBODY),
        ("redis_version:7\r\n", SILENT),
        ("", SILENT),
    ],
)
def test_info_says_who_leads(text: str, told: Told) -> None:
    """ElasticKV names the leader; Redis only says of itself whether it is one."""
    assert told_by_info(A, encode.bulk(text)) == told


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (encode.error("LOADING Redis is loading the dataset in memory"), None),
        (encode.error("ERR unknown command 'INFO'"), SILENT),
        (b":1\r\n", SILENT),
        (b"*1\r\n$1\r\na\r\n", SILENT),
    ],
)
def test_a_node_that_cannot_say_anything_is_not_believed(reply: bytes, told: Told | None) -> None:
    """It may say something later, or is a store that never does."""
    assert told_by_info(A, reply) == told


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (encode.array([encode.bulk("b"), encode.bulk("2")]), Told(B)),
        (encode.array([encode.bulk("::1"), encode.bulk("2")]), Told(("::1", 2))),
        (encode.array([encode.bulk("b"), encode.bulk("x")]), NOBODY),
        (b"*-1\r\n", NOBODY),
        (b"_\r\n", NOBODY),
        (encode.error("IDONTKNOW I have not enough information"), None),
    ],
)
def test_a_sentinel_says_where_the_primary_is(reply: bytes, told: Told | None) -> None:
    """Nil: it knows of none by that name."""
    assert told_by_sentinel(A, reply) == told


@pytest.mark.parametrize(
    "text",
    [
        "not leader", "ERR not leader", "leader not found", "ERR leader not found",
        "NOTLEADER leader not found", "NOTLEADER whatever",
        "dial tcp 10.0.0.1:6380: connect: connection refused",
        "read tcp 10.0.0.1:6380: read: connection reset by peer",
        "READONLY You can't write against a read only replica.",
    ],
)  # fmt: skip
def test_errors_of_a_node_that_does_not_lead_are_known(text: str) -> None:
    """In all of their texts, with ``ERR`` and without."""
    assert is_not_leader(encode.error(text))


@pytest.mark.parametrize(
    "text",
    ["ERR unknown command 'LEADER'", "WRONGTYPE no", "BUSY server overloaded", "ERR connection refused"],
)
def test_other_errors_say_nothing_about_who_leads(text: str) -> None:
    """A leader answers them, too."""
    assert not is_not_leader(encode.error(text))
