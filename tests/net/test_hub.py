"""The readiness hub calls who is ready, and nobody's failure is anybody else's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio
import trio.testing

from dualkv.net.hub import ReadinessHub
from tests.net.building import running_hub, socket_pair
from tests.support.proxy import wait_until


@attrs.define(eq=False)
class Handler:
    """Writes down its calls, and does what a test wants."""

    sock: socket.socket
    calls: list[str] = attrs.field(factory=list)
    failures: list[Exception] = attrs.field(factory=list)
    when_readable: Callable[[], object] = bool
    when_writable: Callable[[], object] = bool

    def on_readable(self) -> None:
        """Read what is there."""
        self.calls.append("readable")
        self.when_readable()
        self.calls.append(self.sock.recv(100).decode())

    def on_writable(self) -> None:
        """Take note of it."""
        self.calls.append("writable")
        self.when_writable()

    def on_failure(self, error: Exception) -> None:
        """Keep the error; take the byte away so that it is not called forever."""
        self.failures.append(error)
        self.sock.recv(100)


@contextmanager
def registered(hub: ReadinessHub) -> Iterator[tuple[Handler, socket.socket]]:
    """Register one side of a socket pair for the block; yield its handler and the other side."""
    ours, theirs = socket_pair()
    with ours, theirs:
        handler = Handler(ours)
        hub.register(ours, handler)
        try:
            yield handler, theirs
        finally:
            hub.unregister(ours)


def fail() -> None:
    """Fail as a handler with a bug does."""
    raise RuntimeError("a bug")


async def test_handler_is_called_when_bytes_arrive() -> None:
    """A registered socket's handler is called once for what has arrived, and again for more."""
    async with running_hub() as hub:
        with registered(hub) as (handler, peer):
            peer.send(b"a")
            await wait_until(lambda: "a" in handler.calls)
            peer.send(b"b")
            await wait_until(lambda: "b" in handler.calls)

            assert handler.calls == ["readable", "a", "readable", "b"]


async def test_handler_is_called_at_the_end_of_the_stream() -> None:
    """A closed peer makes a socket readable: its handler sees the end."""
    async with running_hub() as hub:
        with registered(hub) as (handler, peer):
            handler.when_readable = lambda: hub.set_interest(handler.sock, read=False, write=False)
            peer.close()
            await wait_until(lambda: bool(handler.calls))

            assert handler.calls == ["readable", ""]


async def test_writable_is_called_only_while_asked_for() -> None:
    """Room to send is reported as long as a handler wants to know, and not before or after."""
    async with running_hub() as hub:
        with registered(hub) as (handler, peer):
            handler.when_writable = lambda: hub.set_interest(handler.sock, read=True, write=False)
            await trio.testing.wait_all_tasks_blocked()
            assert handler.calls == []

            hub.set_interest(handler.sock, read=True, write=True)
            await wait_until(lambda: bool(handler.calls))
            peer.send(b"a")
            await wait_until(lambda: "a" in handler.calls)

            assert handler.calls == ["writable", "readable", "a"]


async def test_readable_and_writable_at_once_are_told_in_that_order() -> None:
    """A socket that is ready both ways in one round is read first."""
    async with running_hub() as hub:
        with registered(hub) as (handler, peer):
            handler.when_writable = lambda: hub.set_interest(handler.sock, read=False, write=False)
            hub.set_interest(handler.sock, read=False, write=False)
            peer.send(b"a")
            hub.set_interest(handler.sock, read=True, write=True)
            await wait_until(lambda: len(handler.calls) >= 3)

            assert handler.calls == ["readable", "a", "writable"]


async def test_parked_socket_is_left_alone_until_asked_again() -> None:
    """A socket without interest is not reported, loses nothing, and can be taken up again."""
    async with running_hub() as hub:
        with registered(hub) as (handler, peer), registered(hub) as (other, other_peer):
            hub.set_interest(handler.sock, read=False, write=False)
            hub.set_interest(handler.sock, read=False, write=False)  # again: no harm
            peer.send(b"a")
            other_peer.send(b"x")
            await wait_until(lambda: "x" in other.calls)
            assert handler.calls == []

            hub.set_interest(handler.sock, read=True, write=False)
            await wait_until(lambda: "a" in handler.calls)


async def test_parked_socket_can_be_unregistered() -> None:
    """Unregistering works for a parked socket too, and the descriptor can be registered anew."""
    async with running_hub() as hub:
        ours, theirs = socket_pair()
        with ours, theirs:
            handler = Handler(ours)
            hub.register(ours, handler)
            hub.set_interest(ours, read=False, write=False)
            hub.unregister(ours)
            theirs.send(b"a")
            hub.register(ours, handler)
            await wait_until(lambda: "a" in handler.calls)
            hub.unregister(ours)


async def test_work_put_off_runs_behind_all_handlers_of_the_round() -> None:
    """What a handler puts off is done in order, once every ready handler has been called."""
    log: list[str] = []
    async with running_hub() as hub:
        with registered(hub) as (one, one_peer), registered(hub) as (two, two_peer):
            for name, handler in (("one", one), ("two", two)):

                def put_off(name: str = name) -> None:
                    log.append(f"handler {name}")
                    hub.at_end_of_round(lambda: log.append(f"work {name}"))

                handler.when_readable = put_off
            one_peer.send(b"1")
            two_peer.send(b"2")
            await wait_until(lambda: len(log) == 4)

    first = log[0].split()[1]
    second = log[1].split()[1]
    assert {first, second} == {"one", "two"}
    assert log == [f"handler {first}", f"handler {second}", f"work {first}", f"work {second}"]


async def test_work_put_off_by_work_is_done_in_the_same_round() -> None:
    """End-of-round work may add more: that comes behind all the first, before the next round."""
    log: list[str] = []
    async with running_hub() as hub:
        with registered(hub) as (handler, peer):

            def work() -> None:
                log.append("work")
                hub.at_end_of_round(lambda: log.append("more"))

            def put_off() -> None:
                log.append("readable")
                hub.at_end_of_round(work)
                hub.at_end_of_round(lambda: log.append("beside"))

            handler.when_readable = put_off
            peer.send(b"a" * 101)  # takes two rounds
            await wait_until(lambda: len(log) == 8)

    assert log == ["readable", "work", "beside", "more"] * 2


async def test_work_outside_of_a_round_is_done_at_once() -> None:
    """When no round is running there is nothing to wait for."""
    log: list[str] = []
    async with running_hub() as hub:
        hub.at_end_of_round(lambda: log.append("done"))

        assert log == ["done"]


async def test_failure_of_one_handler_ends_only_that_one() -> None:
    """A handler that raises is told so; the others of the round, and the work put off, are not affected."""
    async with running_hub() as hub:
        with registered(hub) as (broken, broken_peer), registered(hub) as (sound, sound_peer):
            log: list[str] = []
            broken.when_readable = fail
            sound.when_readable = lambda: hub.at_end_of_round(lambda: log.append("work"))
            broken_peer.send(b"a")
            sound_peer.send(b"b")
            await wait_until(lambda: bool(log))
            await wait_until(lambda: bool(broken.failures))

            assert [str(error) for error in broken.failures] == ["a bug"]
            assert sound.calls == ["readable", "b"]
            assert sound.failures == []


async def test_failure_in_writing_is_told_too() -> None:
    """`on_failure` covers both callbacks."""
    async with running_hub() as hub:
        with registered(hub) as (handler, peer):

            def fail_once() -> None:
                hub.set_interest(handler.sock, read=True, write=False)
                raise RuntimeError("a bug")

            handler.when_writable = fail_once
            peer.send(b"a")
            hub.set_interest(handler.sock, read=False, write=True)
            await wait_until(lambda: bool(handler.failures))

            assert [str(error) for error in handler.failures] == ["a bug"]


async def test_other_tasks_get_a_turn_beside_a_socket_that_is_always_ready() -> None:
    """A socket that is ready in every round does not keep trio's other tasks from running."""
    async with running_hub() as hub:
        with registered(hub) as (handler, _):
            hub.set_interest(handler.sock, read=False, write=True)
            await wait_until(lambda: bool(handler.calls))
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            before = len(handler.calls)
            await wait_until(lambda: len(handler.calls) > before)
