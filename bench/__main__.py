"""``python -m bench``: measure, print a table, write JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.load import Case, Measurement, fill_list, measure
from bench.report import print_report, write_json
from bench.targets import start_targets
from dualkv.config import ProxyMode

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
    parser.add_argument("--commands", default="SET,GET")
    parser.add_argument("--clients", default="50")
    parser.add_argument("--pipelines", default="1,16")
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"))
    options = parser.parse_args()
    cases = [
        Case(command, int(clients), int(pipeline), options.requests * (4 if int(pipeline) > 1 else 1))
        for clients in options.clients.split(",")
        for pipeline in options.pipelines.split(",")
        for command in options.commands.split(",")
    ]
    names = ["direct", *(name for name in options.targets.split(",") if name != "direct")]
    results: dict[Case, dict[str, list[Measurement]]] = {case: {name: [] for name in names} for case in cases}
    with start_targets(names) as targets:
        fill_list(targets[0])
        for _ in range(options.rounds):
            for case in cases:
                for target in targets:
                    results[case][target.name].append(measure(target, case))
    print_report(results)
    write_json(results, options.json)


main()
