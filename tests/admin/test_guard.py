"""Who may ask at the admin address, how much and how long."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dualkv.admin import guard
from dualkv.admin.guard import MAX_BODY_BYTES, SAID_TOKEN, Guard
from dualkv.admin.serving import serve_http
from dualkv.config.admin import admin_tokens
from dualkv.net.listener import open_listeners
from tests.support.asking import ask, ask_raw

TOKEN, OTHER = "0123456789abcdef", "fedcba9876543210"
TOKENS = f"alice:{TOKEN}\n{OTHER}"


async def _echo(request: Request) -> Response:
    body = (await request.body()).decode()
    return JSONResponse({"token": request.scope.get(SAID_TOKEN), "body": body})


@asynccontextmanager
async def guarded(tokens: str = "") -> AsyncIterator[int]:
    """Serve an application that answers with what it got, behind a guard; return the port."""
    routes = [Route(path, _echo, methods=["GET", "PUT"]) for path in ("/private", "/public")]
    app = Guard(Starlette(routes=routes), admin_tokens(tokens), ["/public"])
    listeners = await open_listeners("127.0.0.1", 0)
    port = listeners[0].getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, app, listeners)
        yield port
        nursery.cancel_scope.cancel("the test is over")


# --- tokens


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        ("", "a token is missing"),
        (f"Bearer {TOKEN}x", "the token is wrong"),
        (f"Bearer {TOKEN[:-1]}", "the token is wrong"),
        ("Bearer", "the token is wrong"),
        (f"Basic {TOKEN}", "the token is wrong"),
        (f"Bearer alice:{TOKEN}", "the token is wrong"),
        ("Bearer \xff\xfe", "the token is wrong"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_without_a_right_token_nothing_is_told_or_done(
    method: str, authorization: str, error: str
) -> None:
    """401, with what is asked for, and nothing of the application."""
    async with guarded(TOKENS) as port:
        answer = await ask(port, method, "/private", headers={"Authorization": authorization})

    assert (answer.status, answer.error) == (401, error)
    assert answer.headers["www-authenticate"].startswith('Bearer realm="dualkv"')


@pytest.mark.parametrize(("token", "name"), [(TOKEN, "alice"), (OTHER, "")])
async def test_each_token_lets_in_and_has_its_name(token: str, name: str) -> None:
    """The application learns whose it was."""
    async with guarded(TOKENS) as port:
        answer = await ask(port, "PUT", "/private", {}, token=token)

    assert (answer.status, answer.json) == (200, {"token": name, "body": "{}"})


async def test_what_is_public_can_be_read_without_a_token_and_not_changed() -> None:
    """And whoever has a token need not use it there."""
    async with guarded(TOKENS) as port:
        assert (await ask(port, "GET", "/public")).status == 200
        assert (await ask(port, "PUT", "/public", {})).status == 401


async def test_refused_tokens_are_logged_and_not_said(caplog: pytest.LogCaptureFixture) -> None:
    """With where they came from; at most one line in five seconds."""
    caplog.set_level(logging.WARNING, "dualkv")
    async with guarded(TOKENS) as port:
        for _ in range(3):
            await ask(port, "GET", "/private", token=TOKEN + "x")

    (record,) = [record for record in caplog.records if "token" in record.message]
    assert vars(record)["address"] == "127.0.0.1"
    assert TOKEN not in str(vars(record))


# --- browsers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7:9192", "[::2]", "["])
async def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    """DNS rebinding: the browser thinks that it is talking to that name, and says so."""
    async with guarded() as port:
        answer = await ask(port, "GET", "/private", headers={"Host": host})

    assert answer.status == 403
    assert "Host header" in answer.error


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9192", "127.0.0.1:1", "[::1]:9192", "127.1.2.3"])
async def test_this_machine_may_ask_without_tokens_by_any_of_its_names(host: str) -> None:
    """The port may be another one: of a tunnel."""
    async with guarded() as port:
        assert (await ask(port, "GET", "/private", headers={"Host": host})).status == 200


async def test_with_tokens_the_host_may_have_any_name() -> None:
    """Whoever has a token is no stranger."""
    async with guarded(TOKENS) as port:
        answer = await ask(port, "GET", "/private", token=TOKEN, headers={"Host": "dualkv.internal"})

    assert answer.status == 200


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_a_change_must_be_declared_as_json(kind: str) -> None:
    """What a page of another site can send without asking first is not taken."""
    async with guarded() as port:
        answer = await ask(port, "PUT", "/private", {}, headers={"Content-Type": kind})
        assert answer.status == 415
        json = {"Content-Type": "application/json; charset=utf-8"}
        assert (await ask(port, "PUT", "/private", {}, headers=json)).status == 200


async def test_a_page_of_another_site_may_change_nothing_and_is_not_invited() -> None:
    """No preflight is answered with a permission; a change with a foreign origin is refused."""
    async with guarded() as port:
        own = {"Origin": f"http://127.0.0.1:{port}"}
        assert (await ask(port, "PUT", "/private", {}, headers=own)).status == 200
        foreign = {"Origin": "http://evil.example"}
        assert (await ask(port, "PUT", "/private", {}, headers=foreign)).status == 403
        asked = await ask(
            port, "OPTIONS", "/private", headers=foreign | {"Access-Control-Request-Method": "PUT"}
        )
        read = await ask(port, "GET", "/private", headers=foreign)

    for answer in (asked, read):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_every_answer_says_that_nobody_may_keep_or_frame_it() -> None:
    """Also the one that refuses."""
    async with guarded(TOKENS) as port:
        answers = [await ask(port, "GET", "/private", token=token) for token in ("", TOKEN)]

    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


# --- how much and how long


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 500_000])
async def test_a_body_that_is_too_long_is_refused(size: int) -> None:
    """413, and one of just that length is taken."""
    async with guarded() as port:
        answer = await ask(port, "PUT", "/private", b"x" * size)
        assert (answer.status, answer.error) == (413, f"the body is longer than {MAX_BODY_BYTES} bytes")
        answer = await ask(port, "PUT", "/private", b"x" * MAX_BODY_BYTES)
        assert len(answer.json["body"]) == MAX_BODY_BYTES


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    """Whoever goes on sending after a mebibyte is disconnected."""
    async with guarded() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        head = f"PUT /private HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        await stream.send_all(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):
            await _send_chunks(stream)


async def _send_chunks(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """408 after a while."""
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.1)
    async with guarded() as port:
        length = {"Content-Length": "100"}
        answer = await ask(port, "PUT", "/private", b"{", headers=length)

    assert (answer.status, answer.error) == (408, "the body did not come within 0.1 s")


@pytest.mark.parametrize("start", [b"", b"GET /private HT"])
async def test_who_does_not_finish_asking_is_disconnected(start: bytes) -> None:
    """Within some seconds, however slowly bytes trickle in."""
    async with guarded() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(start)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_trickle, stream, bool(start))
            with trio.fail_after(8):
                assert await stream.receive_some() == b""
            nursery.cancel_scope.cancel()


async def _trickle(stream: trio.SocketStream, is_talking: bool) -> None:
    while is_talking:
        await trio.sleep(0.2)
        try:
            await stream.send_all(b"x")
        except trio.BrokenResourceError:
            return


async def test_a_header_without_end_is_not_kept() -> None:
    """Hypercorn stops at 16 KiB."""
    async with guarded() as port:
        answer = await ask_raw(port, b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 70_000)

    assert answer.status in (400, 431)


async def test_websockets_are_refused() -> None:
    """Nothing here speaks them."""
    async with guarded() as port:
        upgrade: dict[str, Any] = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        assert (await ask(port, "GET", "/private", headers=upgrade)).status == 403
