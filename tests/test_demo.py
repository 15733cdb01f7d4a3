"""``dualkv demo``, as a process of its own."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_SECONDS = 60
COMMAND = [sys.executable, "-m", "dualkv", "demo"]


@pytest.fixture(name="temporary")
def _temporary(tmp_path: Path) -> dict[str, str]:
    """An environment in which temporary files can be found."""
    return {**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100", "TERM": "xterm"}


def leftovers(environment: dict[str, str]) -> list[str]:
    """Return the processes and files that a demo has left."""
    directory = environment["TMPDIR"]
    processes = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if directory.encode() in _content(path)
    ]
    return [*processes, *(path.name for path in Path(directory).iterdir())]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def test_demo_without_a_terminal_prints_lines_and_leaves_nothing(temporary: dict[str, str]) -> None:
    """How to connect, what goes on, and where everything went; no server and no file stays."""
    ended = subprocess.run(
        [*COMMAND, "--seconds", "3"],
        env=temporary, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.search(r"connect: redis-cli -p \d+   metrics: http://127.0.0.1:\d+/metrics", ended.stdout)
    assert re.search(r"ended: dual-write-shadow .*queued=0 .*dropped=0 .*diverged=0", ended.stdout)
    assert leftovers(temporary) == []


def test_ctrl_c_ends_the_demo_cleanly(temporary: dict[str, str]) -> None:
    """No traceback, exit code 0, nothing left."""
    with subprocess.Popen(
        COMMAND, env=temporary, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            while not process.stdout.readline().startswith("connect: "):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()

    assert (process.returncode, stderr) == (0, "")
    assert stdout.splitlines()[-1].startswith("ended: ")
    assert leftovers(temporary) == []


def test_demo_in_a_terminal_draws_a_screen(temporary: dict[str, str]) -> None:
    """Mode, stores, stream and how to connect are on it."""
    master, slave = pty.openpty()
    with subprocess.Popen([*COMMAND, "--seconds", "3"], env=temporary, stdout=slave) as process:
        os.close(slave)
        shown = b""
        try:
            while chunk := os.read(master, 65536):
                shown += chunk
        except OSError:
            pass  # how Linux says that nobody has the other side open any more
        finally:
            os.close(master)

    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert process.returncode == 0
    for words in ("dual-write-shadow", "answers, up", "the secondary stream", "diverged", "redis-cli -p"):
        assert words in text


def test_a_server_that_is_not_there_is_one_clear_line(temporary: dict[str, str]) -> None:
    """The line names it; the exit code is that of a wrong setting."""
    ended = subprocess.run(
        [*COMMAND, "--server-binary", "/no/such/server"],
        env=temporary, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    assert "/no/such/server" in ended.stderr
    assert ended.stderr.count("\n") == 1
