"""The cluster in a process of its own, so that it shares no interpreter with what is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["ClusterProcess"]

_ROOT: Final = Path(__file__).parents[3]


class ClusterProcess:
    """``python -m tests.fakes.elastickv``, started and told what to do. Use it as a context manager.

    Args:
        options: Of the command line, such as ``"--pace", "observed"``.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.addresses: list[str] = []
        """Where its nodes listen."""
        self.store_port = 0
        """Where the real store behind it listens."""

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.elastickv", *self._options],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started = self._read()
        self.addresses, self.store_port = started["addresses"], started["store_port"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        try:
            self._process.communicate(timeout=10)  # closes its input, at which it ends
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, order: str) -> dict[str, Any]:
        """Give one order and return the answer.

        Args:
            order: ``state``, ``move-leader``, ``kill-leader``, ``step-down``, ``elect``, ``revive``,
                ``clear-faults``, ``fault {"text": …, "probability": …}`` (arguments of `Faults.add`), or
                ``pace {"commit_seconds": …}``. Each answers with the state.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the cluster's process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
