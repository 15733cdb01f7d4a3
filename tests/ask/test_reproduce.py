"""A divergence as a script: it makes the difference happen on two other servers, whatever the bytes are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from dualkv.ask.reproduce import script_of
from dualkv.core.divergence import HistoryEntry
from dualkv.servers import EmbeddedServer
from tests.ask import plain_cli
from tests.ask.records import record
from tests.support.servers import Pair
from tests.support.stores import flush

CLIS = [f"{sys.executable} {plain_cli.__file__}", *filter(None, [shutil.which("redis-cli")])]
"""The stand-in, and the real one where there is one."""

ODD_KEY = b"\x00\xff \"'\\ $(touch /tmp/x) `id`\r\nEND\nkey"


@pytest.fixture(name="stores", scope="module")
def _stores(server_binary: Path) -> Iterator[Pair]:
    """Two servers for what the scripts write."""
    with EmbeddedServer(server_binary) as primary, EmbeddedServer(server_binary) as secondary:
        yield Pair(primary, secondary)


def run(script: str, stores: Pair, cli: str = CLIS[-1]) -> subprocess.CompletedProcess[str]:
    """Run a script on two servers, empty ones."""
    for server in (stores.primary, stores.secondary):
        flush(server)
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_CLI": cli,
        "PRIMARY": f"-h 127.0.0.1 -p {stores.primary.port}",
        "SECONDARY": f"-h 127.0.0.1 -p {stores.secondary.port}",
    }
    return subprocess.run(
        ["sh"], input=script, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("cli", CLIS, ids=["stand-in", "redis-cli"][: len(CLIS)])
@pytest.mark.parametrize("key", [b"user:1", ODD_KEY], ids=["plain", "odd"])
def test_what_was_dropped_is_missing_on_the_second_server(stores: Pair, cli: str, key: bytes) -> None:
    """The writes before it are made on both, the dropped one on the first: they differ as was found."""
    done = run(script_of(record(key=key, db=2)), stores, cli)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("They differ: reproduced.\n")
    for server, value in ((stores.primary, b"2"), (stores.secondary, b"1")):
        with redis.Redis(port=server.port, db=2) as store:
            assert store.get(key) == value


def test_what_does_not_happen_again_is_told_and_fails(stores: Pair) -> None:
    """The same writes on both leave them equal: the difference came from somewhere else."""
    history = (HistoryEntry(2.0, "set", args=(b"SET", b"user:1", b"1")),)
    done = run(script_of(record(history=history)), stores)

    assert done.returncode == 1
    assert done.stdout.endswith("They answer alike: not reproduced.\n")


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"show_values": False}, "# (hidden: SET user:1 <hash "),
        ({"history": ()}, "# The key's writes are not known here"),
        ({"command": "psubscribe", "args": ()}, "# This is about a message"),
        ({"args": ()}, "# The read is not known here: the key's type is asked for instead."),
        (
            {"args": (b"HGET", b"user:1", b"x"), "show_values": False},
            "# The read is not known here (HGET user:1 <hash ",
        ),
    ],
)
def test_what_is_not_known_is_a_comment_and_the_script_still_runs(
    stores: Pair, facts: dict[str, Any], told: str
) -> None:
    """Nothing is made up; the servers are compared as they are."""
    script = script_of(record(**facts))
    done = run(script, stores)

    assert told in script
    assert (done.returncode in (0, 1), done.stderr) == (True, "")
    assert "\nprimary:   " in "\n" + done.stdout


def test_it_does_nothing_until_servers_are_named() -> None:
    """It writes: nobody's store is the default."""
    done = subprocess.run(
        ["sh"], input=script_of(record()), env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert "PRIMARY" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["id", "kind", "command", "key", "time", "cause", "detail"])
def test_no_field_of_a_foreign_record_leaves_its_comment(stores: Pair, name: str) -> None:
    """A file may hold anything: it is not executed."""
    script = script_of({**record(), name: "x\necho hacked\n"})

    assert "hacked" not in run(script, stores).stdout.splitlines()
    assert all(line.startswith("#") for line in script.splitlines() if "echo hacked" in line)


@pytest.mark.parametrize("nonsense", [{}, {"args": 7, "history": 7, "db": "0; rm"}, {"history": [7, {}]}])
def test_nonsense_makes_a_script_too(nonsense: dict[str, Any]) -> None:
    """What is no record is no reason for a traceback."""
    assert "; rm" not in script_of(nonsense)
