"""Listening and accepting."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
import trio.testing

from dualkv.errors import ConfigError
from dualkv.net.listener import accept_clients, open_listeners
from tests.support.proxy import wait_until


class TroubledListener(socket.socket):
    """A listening socket whose ``accept`` first fails as it is told."""

    troubles: list[OSError]

    def accept(self) -> tuple[socket.socket, object]:
        """Fail, as long as there are troubles left."""
        if self.troubles:
            raise self.troubles.pop(0)
        return super().accept()


def troubled(listener: socket.socket, *troubles: OSError) -> TroubledListener:
    """Return *listener* with troubles."""
    made = TroubledListener(fileno=listener.detach())
    made.setblocking(False)
    made.troubles = [*troubles]
    return made


async def test_port_in_use_is_the_operators_fault() -> None:
    """A taken port is one clear line with the address."""
    [listener] = await open_listeners("127.0.0.1", 0)
    with listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: Address already in use$"
        ):
            await open_listeners("127.0.0.1", port)


async def test_address_of_another_machine_is_the_operators_fault() -> None:
    """An address that this host does not have cannot be listened on."""
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign"):
        await open_listeners("192.0.2.1", 0)


async def test_host_that_cannot_be_a_name_is_the_operators_fault() -> None:
    """A host that DNS cannot even be asked for is a wrong setting, not a traceback."""
    with pytest.raises(ConfigError):
        await open_listeners("x" * 64, 0)


async def test_all_interfaces_share_a_free_port() -> None:
    """Without a host every interface is listened on; a free port is one port."""
    listeners = await open_listeners("", 0)
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        assert not any(listener.getblocking() for listener in listeners)
    finally:
        for listener in listeners:
            listener.close()


async def test_accepted_sockets_are_ready_for_use() -> None:
    """Each client's socket is non-blocking, without delay, and keeps itself alive; many come at once."""
    accepted: list[socket.socket] = []
    [listener] = await open_listeners("127.0.0.1", 0)
    with listener:
        clients = [await trio.open_tcp_stream("127.0.0.1", listener.getsockname()[1]) for _ in range(100)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_clients, listener, accepted.append)
            await wait_until(lambda: len(accepted) == 100)
            nursery.cancel_scope.cancel("enough")
    for client in clients:
        await client.aclose()

    for sock in accepted:
        with sock:
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize(
    "code", [errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
)
async def test_accepting_survives_what_passes(
    code: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients that are gone already, and a lack of descriptors or memory, do not end the listening."""
    assert autojump_clock.autojump_threshold == 0
    accepted: list[socket.socket] = []
    is_accepted = trio.Event()

    def start(sock: socket.socket) -> None:
        accepted.append(sock)
        is_accepted.set()

    [plain] = await open_listeners("127.0.0.1", 0)
    with troubled(plain, OSError(code, "trouble"), OSError(code, "trouble")) as listener:
        async with trio.open_nursery() as nursery:
            with socket.create_connection(listener.getsockname()):
                nursery.start_soon(accept_clients, listener, start)
                await is_accepted.wait()
                nursery.cancel_scope.cancel("enough")
    accepted[0].close()

    assert listener.troubles == []
    assert [record.message for record in caplog.records if record.name == "dualkv.listener"] == (
        [] if code == errno.ECONNABORTED else ["cannot accept"] * 2
    )


async def test_other_errors_of_accepting_are_not_hidden() -> None:
    """What does not pass by itself is raised."""
    [plain] = await open_listeners("127.0.0.1", 0)
    with (
        troubled(plain, OSError(errno.EBADF, "trouble")) as listener,
        socket.create_connection(listener.getsockname()),
        pytest.raises(OSError, match="trouble"),
    ):
        await accept_clients(listener, socket.socket.close)
