"""``dualkv serve`` as a container runs it: the first process of all, on a file system it cannot write to.

`unshare` makes the namespaces, `setpriv` takes the capabilities away, and there is no ``HOME``.
Not here: an image, another user, limits of memory, seccomp.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from tests.deploy.behind import is_ready, quiet_port
from tests.deploy.programs import find_program
from tests.support.servers import Pair

__all__ = ["Container", "contained"]

_PATIENCE_SECONDS = 30

_AS_INIT = """
set -eu
journal=$1
shift
mount --bind "$journal" "$journal"
awk '$2 !~ "^/(proc|sys|dev)(/|$)" && $2 != j { print $2 }' j="$journal" /proc/self/mounts | sort -u |
while read -r point; do
    mount -o remount,bind,ro "$point"
done
for place in / /tmp /var/tmp; do
    if touch "$place/written" 2>/dev/null; then
        echo "$place can be written to" >&2
        exit 1
    fi
done
touch "$journal/written"
rm "$journal/written"
cd /
( sleep 0.01 & )
( sleep 1.5 & )
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all env -i PYTHONPATH="$PYTHONPATH" "$@"
"""
"""Leaves two orphans behind, which become dualkv's: one ends before it is ready, one later."""


@attrs.frozen
class Container:
    """A dualkv that believes to be alone."""

    popen: subprocess.Popen[bytes]
    """The ``unshare`` outside, which ends as dualkv ends."""
    port: int
    http_port: int

    @property
    def pid(self) -> int:
        """The id of dualkv, seen from outside."""
        return _children_of(self.popen.pid)[0]

    def children(self) -> list[int]:
        """Return the ids of the processes that dualkv is the parent of, dead ones included."""
        return _children_of(self.pid)

    async def end(self) -> tuple[int, dict[str, object], bytes]:
        """Send SIGTERM; return the exit code, the last words, and what it wrote to stderr."""
        os.kill(self.pid, signal.SIGTERM)
        output, errors = await trio.to_thread.run_sync(
            lambda: self.popen.communicate(timeout=_PATIENCE_SECONDS)
        )
        return self.popen.returncode, json.loads(output.splitlines()[-1]), errors


def _children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


@asynccontextmanager
async def contained(pair: Pair, *flags: str) -> AsyncIterator[Container]:
    """Run ``dualkv serve`` as process 1, with all but its journal read-only."""
    unshare = find_program("unshare")
    assert unshare is not None
    port, http_port = quiet_port(), quiet_port()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as journal:
        popen = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as it is started
            [
                unshare, "--fork", "--pid", "--mount", "--mount-proc", "--propagation", "private",
                "--kill-child", "sh", "-c", _AS_INIT, "sh", journal,
                sys.executable, "-m", "dualkv", "serve", "--mode", "dual-write", "--selftest", "off",
                "--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{http_port}",
                "--admin", "off",
                "--primary", pair.primary.address, "--secondary", pair.secondary.address,
                "--journal-dir", journal, *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        container = Container(popen, port, http_port)
        try:
            with trio.fail_after(_PATIENCE_SECONDS):
                while not await trio.to_thread.run_sync(is_ready, http_port):
                    assert popen.poll() is None, popen.communicate()
                    await trio.sleep(0.05)
            yield container
        finally:
            if popen.poll() is None:
                popen.kill()
            popen.communicate()
