"""``dualkv torture`` as its user sees it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dualkv.torture.stores import Stores
from tests.torture.conftest import Twins

PATIENCE_SECONDS = 120
EXACT = "SET,APPEND,INCR,LPUSH,RPUSH,HSET,SADD,ZADD,XGROUP CREATE,GET,DEL,MULTI,WATCH"
"""What has the same outcome whenever it is executed: equal also without any repair."""


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "dualkv", "torture", *arguments],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


def own(stores: Stores) -> list[str]:
    """Return the options that name stores."""
    return ["--primary", stores.primary.address, "--secondary", stores.secondary.address]


def test_equal_stores_end_with_0() -> None:
    """A line per seed, and a table."""
    ended = torture("--seeds", "2", "--operations", "500", "--faults", "none", "--only", EXACT)

    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("seed 1: equal; ")
    assert lines[1].startswith("seed 2: equal; ")
    assert lines[-1].endswith("2 of 2 good")


async def test_own_stores_are_compared_and_must_be_given_up(stores: Stores, twins: Twins) -> None:
    """What they hold is removed only if the user says so."""
    await twins.primary.call("SET", "precious", "1")
    arguments = [*own(stores), "--seeds", "1", "--operations", "300", "--faults", "limits", "--only", EXACT]

    refused = torture(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith("dualkv: the primary holds 1 keys: torture removes everything")
    assert await twins.primary.call("GET", "precious") == b"1"

    done = torture(*arguments, "--yes")
    assert done.returncode in (0, 1)  # tiny limits may need the repair
    assert await twins.primary.call("GET", "precious") is None


async def test_a_difference_ends_with_1_and_is_told(stores: Stores, twins: Twins) -> None:
    """As JSON if wanted: a secondary that refuses everything does not end up equal."""
    await twins.secondary.call("CONFIG", "SET", "maxmemory", "1")
    ended = torture(
        *own(stores), "--seeds", "1", "--operations", "300", "--faults", "none", "--only", "SET",
        "--settle-seconds", "1", "--json",
    )  # fmt: skip

    result = json.loads(ended.stdout)
    assert (ended.returncode, result["good"], result["seed"]) == (1, False, 1)
    assert result["differences"][0]["operations"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--faults", "nonsense"), "--faults: nonsense: no such fault"),
        (("--only", "NONSENSE", "--faults", "none"), "no such command to send: NONSENSE"),
        (("--set", "nonsense=1"), "nonsense: there is no such setting"),
        (("--set", "nonsense"), "--set nonsense: not NAME=VALUE"),
        (("--primary", "127.0.0.1:1"), "name both --primary and --secondary, or neither"),
        (("--primary", "127.0.0.1:1", "--secondary", "127.0.0.1:2"), "127.0.0.1:1: "),
        (
            ("--primary", "a:1", "--secondary", "b:2", "--faults", "secondary-stop"),
            "--faults: secondary-stop: not with your own stores",
        ),
        (("--server-binary", "/no/such/server"), "/no/such/server: no such server binary"),
    ],
)
def test_wrong_options_end_with_2_and_one_line(arguments: tuple[str, ...], complaint: str) -> None:
    """Nothing has been done to any store."""
    ended = torture(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"dualkv: {complaint}")
    assert ended.stderr.count("\n") == 1


def test_one_server_is_not_two_stores(stores: Stores) -> None:
    """Two addresses that lead to one are seen through."""
    port = stores.primary.port
    ended = torture("--primary", f"127.0.0.1:{port}", "--secondary", f"localhost:{port}")

    assert ended.returncode == 2
    assert ended.stderr == "dualkv: primary and secondary are the same server\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process and no file, also in the middle of a fault; the exit code says that it is not done."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-m", "dualkv", "torture", "--faults", "secondary-stop", "--operations", "100000"],
        stdout=subprocess.PIPE,
    ) as process:
        time.sleep(4)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []
    assert [pid for pid in processes() if str(tmp_path).encode() in pid] == []


def processes() -> list[bytes]:
    """Return the command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:  # it has ended meanwhile
            continue
    return found
