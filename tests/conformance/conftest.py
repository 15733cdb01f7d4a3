"""Options, servers, and the summary at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.stage import THROUGH, Servers, redis_7_0, running_servers

SUMMARY = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the second server be met in other ways."""
    parser.addoption(
        "--through",
        choices=THROUGH,
        default=THROUGH[0],
        help="conformance: dualkv's mode, or 'direct' to test the tests: two servers without dualkv",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the summary."""
    config.stash[SUMMARY] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what the tests had to say, failed or not."""
    if config.stash[SUMMARY]:
        terminalreporter.section("conformance")
        for line in config.stash[SUMMARY]:
            terminalreporter.write_line(line)


@pytest.fixture(name="summary")
def _summary(request: pytest.FixtureRequest) -> list[str]:
    """Lines to be printed at the end."""
    return request.config.stash[SUMMARY]


@pytest.fixture(name="through")
def _through(request: pytest.FixtureRequest) -> str:
    """What stands before the second server."""
    through: str = request.config.getoption("--through", default=THROUGH[0])
    return through


@pytest.fixture(name="redis_binary", scope="session")
def _redis_binary() -> Path:
    """Redis 7.0."""
    return redis_7_0()


@pytest.fixture(name="servers")
def _servers(redis_binary: Path) -> Iterator[Servers]:
    """Fresh servers."""
    with running_servers(redis_binary) as servers:
        yield servers
