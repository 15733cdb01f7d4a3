"""One run of the load: ``redis-benchmark`` against a target, and the CPU time it cost."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from pathlib import Path

import attrs

from bench.fixed import measure_blocks, subscriber
from bench.targets import Target

__all__ = ["Case", "Measurement", "cpu_seconds", "measure"]

VALUE_BYTES = 64


@attrs.frozen
class Case:
    """What is asked of a target."""

    name: str
    """``SET``, ``GET``, ``LRANGE`` (100 elements), ``MULTI`` (10 ``SET``, ``EXEC``), ``PUBLISH`` (to one)."""
    clients: int
    pipeline: int
    requests: int

    @property
    def label(self) -> str:
        """Its name in the table."""
        return f"{self.name} P={self.pipeline} c={self.clients}"


@attrs.frozen
class Measurement:
    """What one run showed."""

    ops_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_command: float | None
    """Of the process between load and Redis, user and system."""


def measure(target: Target, case: Case) -> Measurement:
    """Run *case* against *target* once."""
    if case.name == "MULTI":
        return _measure_transactions(target, case)
    if case.name == "PUBLISH":
        with subscriber(target.port, "bench:channel"):
            return _measure_commands(target, case)
    return _measure_commands(target, case)


def _measure_transactions(target: Target, case: Case) -> Measurement:
    before = cpu_seconds(target.pid)
    rate, latencies = measure_blocks(target.port, case.clients, case.requests)
    used = cpu_seconds(target.pid) - before
    latencies.sort()
    return Measurement(
        ops_per_second=rate,
        p50_ms=latencies[len(latencies) // 2] * 1000,
        p99_ms=latencies[len(latencies) * 99 // 100] * 1000,
        cpu_us_per_command=used / case.requests * 1e6 if target.pid is not None else None,
    )


def _measure_commands(target: Target, case: Case) -> Measurement:
    binary = shutil.which("redis-benchmark")
    if binary is None:
        raise FileNotFoundError("redis-benchmark is not on the PATH (Debian: apt-get install redis-tools)")
    before = cpu_seconds(target.pid)
    finished = subprocess.run(
        [
            binary, "-p", str(target.port), "-c", str(case.clients), "-P", str(case.pipeline),
            "-n", str(case.requests), "-d", str(VALUE_BYTES), "-r", "10000", "--csv", *_command(case.name),
        ],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    used = cpu_seconds(target.pid) - before
    row = next(row for row in csv.DictReader(io.StringIO(finished.stdout)) if row["rps"])
    return Measurement(
        ops_per_second=float(row["rps"]),
        p50_ms=float(row["p50_latency_ms"]),
        p99_ms=float(row["p99_latency_ms"]),
        cpu_us_per_command=used / case.requests * 1e6 if target.pid is not None else None,
    )


def _command(name: str) -> list[str]:
    if name == "PUBLISH":
        return ["PUBLISH", "bench:channel", "x" * VALUE_BYTES]
    if name == "LRANGE":
        return ["LRANGE", "bench:list", "0", "99"]
    return ["-t", name.lower()]


def fill_list(target: Target) -> None:
    """Put 100 elements of the usual size into the list that ``LRANGE`` reads."""
    binary = shutil.which("redis-cli")
    assert binary is not None
    subprocess.run([binary, "-p", str(target.port), "DEL", "bench:list"], check=True, capture_output=True)
    subprocess.run(
        [binary, "-p", str(target.port), "RPUSH", "bench:list", *["x" * VALUE_BYTES] * 100],
        check=True, capture_output=True,
    )  # fmt: skip


def cpu_seconds(pid: int | None) -> float:
    """Return the CPU time that a process has used, user and system; 0 for none."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
