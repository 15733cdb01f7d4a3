"""``python -m bench``: measure, print a table, write JSON."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from bench.load import Case, Measurement, fill_list, measure
from bench.memory import measure_memory
from bench.report import print_report, write_json
from bench.targets import start_targets
from dualkv.config import ProxyMode

_CASES = "SET/50/1,GET/50/1,SET/50/16,GET/50/16,GET/500/1,GET/1/1,LRANGE/50/1,MULTI/50/1,PUBLISH/50/1"
_TARGETS = ["direct", "haproxy", *(mode.value for mode in ProxyMode)]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench", description="Compare dualkv with direct Redis and HAProxy."
    )
    parser.add_argument(
        "--targets", default=",".join(_TARGETS), help="comma-separated; direct is always measured"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often every target is measured")
    parser.add_argument(
        "--requests",
        type=int,
        default=60_000,
        help="requests per run at P=1; four times as many pipelined",
    )
    parser.add_argument(
        "--cases",
        default=_CASES,
        help="comma-separated COMMAND/CLIENTS/PIPELINE (SET, GET, LRANGE, MULTI, PUBLISH)",
    )
    parser.add_argument(
        "--idle-clients", type=int, default=5000, help="how many to measure memory with; 0: do not"
    )
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"))
    options = parser.parse_args()
    cases = [_case(text, options.requests) for text in options.cases.split(",")]
    names = ["direct", *(name for name in options.targets.split(",") if name != "direct")]
    results: dict[Case, dict[str, list[Measurement]]] = {case: {name: [] for name in names} for case in cases}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that the servers end too
    with start_targets(names) as targets:
        memory = [
            measure_memory(target, options.idle_clients)
            for target in targets
            if options.idle_clients and target.metrics_port is not None
        ]
        fill_list(targets[0])
        for number in range(1, options.rounds + 1):
            for case in cases:
                print(f"round {number} of {options.rounds}: {case.label}", file=sys.stderr)
                for target in targets:
                    results[case][target.name].append(measure(target, case))
    print_report(results, memory)
    write_json(results, memory, options.json)


def _case(text: str, requests: int) -> Case:
    command, clients, pipeline = text.split("/")
    return Case(command, int(clients), int(pipeline), requests * (4 if int(pipeline) > 1 else 1))


main()
