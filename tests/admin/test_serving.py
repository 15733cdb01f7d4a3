"""Serving HTTP: nobody who connects can hold us up."""

from __future__ import annotations

import socket

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dualkv.admin import serving
from dualkv.admin.serving import serve_http
from dualkv.net.listener import open_listeners
from tests.support.asking import ask

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _much(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
    return PlainTextResponse("x" * 16_000_000)


async def _fail(_: Request) -> Response:  # noqa: ASYNC124 - as above
    raise RuntimeError("a fault")


APP = Starlette(routes=[Route("/", _much), Route("/fault", _fail)])


async def start(nursery: trio.Nursery) -> int:
    """Serve in *nursery*; return the port."""
    listeners = await open_listeners("127.0.0.1", 0)
    port: int = listeners[0].getsockname()[1]
    await nursery.start(serve_http, APP, listeners)
    return port


async def connect(port: int) -> trio.SocketStream:
    """Connect with a small buffer, so that who does not read is noticed soon."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", port))
    return trio.SocketStream(sock)


async def test_who_does_not_read_is_disconnected_and_nobody_waits_for_him(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the others, nor the end: Hypercorn alone would never end."""
    monkeypatch.setattr(serving, "_UNREAD_SECONDS", 1.0)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await start(nursery)
            async with await connect(port) as stuck:
                await stuck.send_all(_REQUEST)
                assert len((await ask(port, "GET", "/")).body) == 16_000_000
                nursery.cancel_scope.cancel("the server ends")


async def test_one_connection_too_many_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And there is room again when one has gone."""
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 1)
    async with trio.open_nursery() as nursery:
        port = await start(nursery)
        async with await connect(port) as first:
            await first.send_all(b"GET")
            async with await connect(port) as second:
                with trio.fail_after(4):
                    assert await _ending(second) == b""
        with trio.fail_after(12):  # Hypercorn waits some seconds for who has gone
            await _until_served(port)
        nursery.cancel_scope.cancel("the test is over")


async def _ending(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


async def _until_served(port: int) -> None:
    while True:
        async with await connect(port) as stream:
            await stream.send_all(_REQUEST)
            if (await _ending(stream)).startswith(b"HTTP/1.1 200"):
                return


async def test_a_fault_of_the_application_ends_its_connection_only() -> None:
    """The next one is served."""
    async with trio.open_nursery() as nursery:
        port = await start(nursery)
        async with await connect(port) as stream:
            await stream.send_all(_REQUEST.replace(b"/ ", b"/fault "))
            assert (await _ending(stream)).startswith(b"HTTP/1.1 500")
        assert (await ask(port, "GET", "/")).status == 200
        nursery.cancel_scope.cancel("the test is over")


async def test_who_resets_the_connection_harms_nobody() -> None:
    """In the middle of an answer."""
    async with trio.open_nursery() as nursery:
        port = await start(nursery)
        for _ in range(5):
            stream = await connect(port)
            await stream.send_all(_REQUEST)
            await stream.receive_some()
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            await stream.aclose()
        assert (await ask(port, "GET", "/")).status == 200
        nursery.cancel_scope.cancel("the test is over")
