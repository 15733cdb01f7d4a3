"""What is said on a connection follows what is wanted, and answers find their questions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualkv.core.subscribing import MAX_QUESTIONS, Confirmed, Delivered, Name, Refused, Subscribing
from dualkv.core.subscriptions import Kind
from dualkv.errors import ReplyProtocolError
from dualkv.resp.encode import array, bulk, command, integer
from dualkv.resp.requests import RequestParser

C, D = (Kind.CHANNEL, b"c"), (Kind.CHANNEL, b"d")
PATTERN, SHARD = (Kind.PATTERN, b"c*"), (Kind.SHARD, b"c")


class Talk:
    """A talk, and the wishes behind it."""

    def __init__(self, *names: Name) -> None:
        self.wanted = set(names)
        self.talk = Subscribing(self.wanted.__contains__, names)

    def want(self, name: Name, *, is_wanted: bool = True) -> None:
        """Change a wish."""
        (self.wanted.add if is_wanted else self.wanted.discard)(name)
        self.talk.look_at(name)

    def says(self) -> bytes:
        """Return the next request; nothing must be confirmed without one."""
        request, confirmed = self.talk.next_request()
        assert confirmed == []
        return request


def answer(verb: str, name: bytes) -> bytes:
    """Return a confirmation."""
    return array([bulk(verb.encode()), bulk(name), integer(1)])


def message(*words: bytes) -> bytes:
    """Return a message."""
    return array([bulk(word) for word in words])


def test_what_is_wanted_is_asked_for_once() -> None:
    """Each kind by its command; nothing follows until wishes change."""
    talk = Talk(C, PATTERN, SHARD)

    assert talk.says() == (
        command("subscribe", "c") + command("psubscribe", "c*") + command("ssubscribe", "c")
    )
    assert talk.says() == b""
    assert [
        talk.talk.take(answer("subscribe", b"c")),
        talk.talk.take(answer("psubscribe", b"c*")),
        talk.talk.take(answer("ssubscribe", b"c")),
    ] == [Confirmed(C), Confirmed(PATTERN), Confirmed(SHARD)]


def test_what_is_not_wanted_any_more_is_unsubscribed_from() -> None:
    """Once; and nothing is said of what was never asked for."""
    talk = Talk(C)
    talk.says()
    talk.want(C, is_wanted=False)
    talk.want(D, is_wanted=False)

    assert talk.says() == command("unsubscribe", "c")
    assert talk.talk.take(answer("subscribe", b"c")) is None
    assert talk.talk.take(answer("unsubscribe", b"c")) is None


def test_wish_that_comes_back_in_time_needs_no_request() -> None:
    """The subscription has been there all the time."""
    talk = Talk(C)
    talk.says()
    talk.talk.take(answer("subscribe", b"c"))
    talk.want(C, is_wanted=False)
    talk.want(C)

    assert talk.talk.next_request() == (b"", [Confirmed(C)])


def test_confirmation_of_an_earlier_request_confirms_nothing() -> None:
    """Between it and the later one the server was not subscribed."""
    talk = Talk(C)
    talk.says()
    talk.want(C, is_wanted=False)
    talk.says()
    talk.want(C)

    assert talk.says() == command("subscribe", "c")
    assert talk.talk.take(answer("subscribe", b"c")) is None
    assert talk.talk.take(answer("unsubscribe", b"c")) is None
    assert talk.talk.take(answer("subscribe", b"c")) == Confirmed(C)


def test_messages_come_between_answers() -> None:
    """By channel, pattern and shard channel."""
    talk = Talk(C, PATTERN)
    talk.says()
    said = [
        talk.talk.take(frame)
        for frame in (
            answer("subscribe", b"c"),
            message(b"message", b"c", b"subscribe"),
            message(b"smessage", b"s", b"x"),
            answer("psubscribe", b"c*"),
            message(b"pmessage", b"c*", b"c", b"x"),
        )
    ]

    assert [one.name for one in said if one is not None] == [C, C, (Kind.SHARD, b"s"), PATTERN, PATTERN]
    assert [isinstance(one, Delivered) for one in said] == [False, True, True, False, True]


def test_refusal_is_of_the_oldest_request() -> None:
    """An error names nothing."""
    talk = Talk(C, PATTERN)
    talk.says()
    talk.talk.take(answer("subscribe", b"c"))

    assert talk.talk.take(b"-NOPERM\r\n") == Refused(PATTERN, b"-NOPERM\r\n")


@pytest.mark.parametrize("pong", [b"+PONG\r\n", message(b"pong", b""), b"-ERR unknown\r\n"])
def test_ping_is_answered_at_its_place(pong: bytes) -> None:
    """However the server answers it: it is there."""
    talk = Talk(C)
    assert talk.talk.ping() == command("PING")
    talk.says()

    assert talk.talk.take(pong) is None
    assert talk.talk.take(answer("subscribe", b"c")) == Confirmed(C)


@pytest.mark.parametrize(
    "frame",
    [
        b"+OK\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b":1\r\n",
        answer("subscribe", b"d"),
        answer("unsubscribe", b"c"),
        message(b"message", b"c"),
        message(b"pmessage", b"c", b"x"),
        array([bulk(b"subscribe"), integer(3), integer(1)]),
        array([array([]), bulk(b"c"), integer(1)]),
    ],
)
def test_wrong_answer_ends_the_talk(frame: bytes) -> None:
    """Nothing behind it can be trusted."""
    talk = Talk(C)
    talk.says()

    with pytest.raises(ReplyProtocolError, match="no answer"):
        talk.talk.take(frame)


def test_answer_without_a_question_ends_the_talk() -> None:
    """A server may end a shard's subscriptions on its own."""
    with pytest.raises(ReplyProtocolError, match="unasked"):
        Talk().talk.take(answer("sunsubscribe", b"c"))


def test_unanswered_requests_are_bounded() -> None:
    """The others wait, as names."""
    names = [(Kind.CHANNEL, b"%d" % number) for number in range(2 * MAX_QUESTIONS)]
    talk = Talk(*names)

    assert len(RequestParser().feed(talk.says())) == MAX_QUESTIONS
    assert (talk.talk.has_work, talk.says(), talk.talk.ping()) == (False, b"", b"")
    talk.talk.take(answer("subscribe", b"0"))
    assert talk.talk.has_work
    assert talk.says() == command("subscribe", str(MAX_QUESTIONS))


WISHES = st.tuples(st.sampled_from([C, D, PATTERN, SHARD]), st.booleans())


@given(st.lists(st.one_of(WISHES, st.sampled_from(["say", "answer"])), max_size=60))
def test_server_ends_up_subscribed_to_what_is_wanted(
    events: list[tuple[Name, bool] | str],
) -> None:
    """Whatever the order of wishes, requests and answers; and each wish is confirmed in the end."""
    talk = Talk()
    owed: list[bytes] = []
    subscribed: set[Name] = set()
    confirmed: dict[Name, bool] = {}

    def say() -> None:
        request, again = talk.talk.next_request()
        for args in (one.args for one in RequestParser().feed(request)):
            verb, name = args[0].decode(), args[1]
            kind = Kind(verb[: verb.index("subscribe")].removesuffix("un").encode())
            (subscribed.discard if "unsub" in verb else subscribed.add)((kind, name))
            owed.append(answer(verb, name))
        confirmed.update((one.name, True) for one in again)

    def reply() -> None:
        said = talk.talk.take(owed.pop(0))
        if isinstance(said, Confirmed):
            assert said.name in subscribed
            confirmed[said.name] = True

    for event in [*events, "say", *["answer"] * 100]:
        if event == "say":
            say()
        elif event == "answer":
            if owed:
                reply()
        elif isinstance(event, tuple):
            name, is_wanted = event
            confirmed[name] = False
            talk.want(name, is_wanted=is_wanted)

    assert subscribed == talk.wanted
    assert {name for name, is_confirmed in confirmed.items() if is_confirmed} >= talk.wanted
