"""amqplib beside other Python libraries and beside the floor: sh benchmarks/run compare.

Prints tables, and writes all figures as JSON and a chart as SVG. About ten minutes; --quick takes three. Client CPU
time is what counts: other work on the machine disturbs it least. Trust the ratios, not the microseconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Sequence

from benchmarks import chart, report
from benchmarks.environment import broker, peers_python, say, server
from benchmarks.measure import Bench, Results
from benchmarks.work import BY_NAME, LIBRARIES, ROWS, Row


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", nargs="+", choices=list(BY_NAME), default=list(BY_NAME), metavar="ROW",
                        help="some of: " + " ".join(BY_NAME))  # fmt: skip
    parser.add_argument("--libraries", nargs="+", choices=list(LIBRARIES), default=list(LIBRARIES), metavar="LIBRARY",
                        help="some of: " + " ".join(LIBRARIES))  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, of which the median counts (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual number of messages (1.0)")
    parser.add_argument("--quick", action="store_true", help="short for --rounds 3 --scale 0.3")
    parser.add_argument("--tls", action="store_true", help="over TLS, the broker's certificate verified")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the chart there")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.scale = 3, 0.3
    return options


def measure(rows: Sequence[Row], options: argparse.Namespace) -> Dict[str, Any]:
    """The results, and what they were got with."""
    python = peers_python()
    results = Results()
    with broker(options.tls) as node, Bench(options.libraries, python, server(node, options.tls)) as bench:
        bench.run(rows, options.rounds, options.scale, results)
        rabbitmq = node.version
    return {
        "python": platform.python_version(),
        "rabbitmq": rabbitmq,
        "tls": options.tls,
        "rounds": options.rounds,
        "scale": options.scale,
        "results": results,
    }


def heading(found: Dict[str, Any]) -> str:
    versions = found["results"].versions
    return "Python %s, RabbitMQ %s%s; %s; the median of %d, in turn" % (
        found["python"],
        found["rabbitmq"],
        " over TLS" if found["tls"] else "",
        ", ".join("%s %s" % pair for pair in versions.items() if pair[1]),
        found["rounds"],
    )


def main(arguments: List[str]) -> int:
    options = parse(arguments)
    rows = [row for row in ROWS if row.name in options.rows]
    found = measure(rows, options)
    results: Results = found["results"]
    print(heading(found))
    print()
    print(report.text(rows, options.libraries, results))
    if options.json:
        options.json.write_text(json.dumps({**found, "results": asdict(results)}, indent=1) + "\n")
        say("figures: %s" % options.json)
    if options.svg:
        options.svg.write_text(chart.svg(rows, options.libraries, results, heading(found)))
        say("chart: %s" % options.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
