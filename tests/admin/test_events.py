"""``/events``: what goes on, as it goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from dualkv.admin import events, serving
from dualkv.config.admin import admin_tokens
from tests.support.asking import ask
from tests.support.proxy import Proxy, running_proxy


@pytest.fixture(name="proxy")
async def _proxy() -> AsyncIterator[Proxy]:
    """A proxy without stores."""
    async with running_proxy("127.0.0.1:1") as proxy:
        yield proxy


@asynccontextmanager
async def following(proxy: Proxy) -> AsyncIterator[trio.SocketStream]:
    """Ask for the events for the block, and read nothing yet."""
    stream = await trio.open_tcp_stream("127.0.0.1", proxy.admin_port)
    async with stream:
        await stream.send_all(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        yield stream


async def told(stream: trio.SocketStream, count: int) -> list[tuple[str, Any]]:
    """Return the next *count* events, each with its name; chunks of HTTP are joined."""
    found: list[tuple[str, Any]] = []
    received = b""
    with trio.fail_after(20):  # noqa: ASYNC912 - each round receives
        while len(found) < count:
            received += await stream.receive_some()
            lines = received.split(b"\n")
            names = [line[7:].decode() for line in lines if line.startswith(b"event: ")]
            data = [line[6:] for line in lines[:-1] if line.startswith(b"data: ")]
            found = [(name, json.loads(text)) for name, text in zip(names, data, strict=False)]
    return found


async def test_the_series_comes_first_then_the_status_again_and_again(proxy: Proxy) -> None:
    """Whoever comes sees the last minutes at once; and each five seconds there is one more point."""
    async with following(proxy) as stream:
        found = await told(stream, 7)

    names = [name for name, _ in found]
    assert names[:3] == ["series", "status", "status"]
    assert "point" in names
    assert found[1][1]["headline"]["condition"] == "trouble"
    assert found[names.index("point")][1].keys() >= {"time", "ops_per_second", "stream_age_seconds"}


async def test_all_who_follow_are_told_the_same_and_counted(proxy: Proxy) -> None:
    """They leave, and there is room again."""
    async with following(proxy) as one, following(proxy) as other:
        first, second = await told(one, 3), await told(other, 3)
        assert [name for name, _ in first] == [name for name, _ in second]


async def test_only_so_many_may_follow(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused, until another one has left."""
    monkeypatch.setattr(events, "MAX_FOLLOWERS", 2)
    async with following(proxy) as one:
        async with following(proxy) as other:
            await told(one, 1)
            await told(other, 1)
            refused = await ask(proxy.admin_port, "GET", "/events")
        assert (refused.status, refused.json) == (503, {"error": "2 follow already, the most that may"})
        await wait_until_status(proxy, 200)


async def test_an_open_stream_does_not_hold_up_the_end(proxy: Proxy) -> None:
    """The server ends, and so does the stream."""
    async with following(proxy) as stream:
        await told(stream, 1)
        with trio.fail_after(5):
            proxy.server.stop()
            while await stream.receive_some():
                pass


async def test_who_does_not_read_is_disconnected(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """He would take the place of somebody else."""
    monkeypatch.setattr(serving, "_UNREAD_SECONDS", 0.1)
    monkeypatch.setattr(events, "MAX_FOLLOWERS", 1)
    large = b": " + b"x" * 16_000_000 + b"\n\n"
    monkeypatch.setattr(events, "_event", lambda _, __: large)
    async with following(proxy):
        await wait_until_status(proxy, 503)
        monkeypatch.setattr(events, "_event", lambda _, __: b": small\n\n")
        await wait_until_status(proxy, 200)


async def wait_until_status(proxy: Proxy, status: int) -> None:
    """Wait until whoever asks for events gets a status: 503 while all places are taken, else 200."""
    with trio.fail_after(20):
        while (await ask_briefly(proxy)) != status:  # noqa: ASYNC110 - each round asks
            await trio.sleep(0.02)


async def ask_briefly(proxy: Proxy) -> int:
    """Ask for events; return the status, and leave."""
    async with following(proxy) as stream:
        return int((await stream.receive_some(64)).split()[1])


async def test_without_the_token_nothing_is_told() -> None:
    """The page itself is public, what goes on is not."""
    async with running_proxy("127.0.0.1:1", admin_token=admin_tokens("0123456789abcdef")) as proxy:
        answers = {path: await ask(proxy.admin_port, "GET", path) for path in PUBLIC + PRIVATE}

    assert {path: answer.status for path, answer in answers.items()} == {
        **dict.fromkeys(PUBLIC, 200), **dict.fromkeys(PRIVATE, 401),
    }  # fmt: skip


PUBLIC = ("/", "/status.css", "/status.js", "/status.svg")
PRIVATE = ("/status", "/events", "/divergences")


@pytest.mark.parametrize("path", PUBLIC)
async def test_the_page_may_load_and_run_nothing_but_itself(proxy: Proxy, path: str) -> None:
    """Nothing from elsewhere, nothing inline; and nobody may frame it."""
    answer = await ask(proxy.admin_port, "GET", path)
    rules = dict(rule.split(maxsplit=1) for rule in answer.headers["content-security-policy"].split("; "))

    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in str(rules)
    assert answer.headers["x-content-type-options"] == "nosniff"
