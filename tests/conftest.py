"""Fixtures: servers that run for the whole session, emptied before each test that uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dualkv.servers import EmbeddedServer, find_server_binary, server_version
from tests.support.servers import Pair, pairs_to_test
from tests.support.stores import flush


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make matrix` ask for all pairs."""
    parser.addoption(
        "--pairs", choices=["default", "all"], default="default", help="pairs of servers for e2e tests"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a pair of servers with each pair."""
    if "running_pair" in metafunc.fixturenames:
        pairs = pairs_to_test(metafunc.config.getoption("--pairs"))
        names = [f"{server_version(one)} to {server_version(other)}" for one, other in pairs]
        metafunc.parametrize("running_pair", pairs, ids=names, indirect=True, scope="session")


@pytest.fixture(name="running_pair", scope="session")
def _running_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two servers that live as long as the session."""
    primary_binary, secondary_binary = request.param
    with EmbeddedServer(primary_binary) as primary, EmbeddedServer(secondary_binary) as secondary:
        yield Pair(primary, secondary)


@pytest.fixture(name="pair")
def _pair(running_pair: Pair) -> Pair:
    """Two servers, empty."""
    flush(running_pair.primary)
    flush(running_pair.secondary)
    return running_pair


@pytest.fixture(name="server_binary", scope="session")
def _server_binary() -> Path:
    """A server to start and to mistreat."""
    return find_server_binary()


@pytest.fixture(name="valkey_port", scope="session")
def _valkey_port(server_binary: Path) -> Iterator[int]:
    """The port of a live server that nobody writes to."""
    with EmbeddedServer(server_binary) as server:
        yield server.port
