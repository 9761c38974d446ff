"""Speed and memory: ours beside what a user would otherwise run, in one process, in turns.

    python -m benchmarks.speed [--rows encode decode ...] [--threads 2] [--repeats 5] [--json OUT]

Paper size with random weights unless a row says otherwise. Rounds in which all take their turn go
on until the interval of the median ratio is narrower than a tenth, two minutes at most; then a
limit holds, the row falls short, or the machine was too busy to decide. Rows of memory are measured
in processes of their own. `--size tiny` tries that it runs.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import transformers

from benchmarks.speed_memory import encode_stored, hour, hour_packaged, load_and_encode
from benchmarks.speed_rows import (
    Row,
    against,
    decode,
    encode,
    encode_rounded,
    packaged,
)
from benchmarks.speed_training import update
from benchmarks.speed_windows import windows

ROWS: dict[str, Callable[..., list[Row]]] = {
    "encode": encode,
    "encode_rounded": encode_rounded,
    "encode_stored": encode_stored,
    "decode": decode,
    "memory": load_and_encode,
    "windows": windows,
    "hour_packaged": hour_packaged,
    "hour": hour,
    "update": update,
    "packaged": packaged,
    "against": against,
}


def _number(value: float) -> str:
    return f"{value:.1e}" if 0 < value < 1e-3 else f"{value:.3f}"


def table_of(rows: list[Row]) -> str:
    """Write rows as a table in Markdown.

    Examples
    --------
    >>> print(table_of([Row("a", {"ours": 0.5}, 0.4, 0.6)]))
    | | measured | ratio or value | limit | verdict |
    |---|---|---|---|---|
    | a | ours 0.500 | 0.400 | at most 0.6 | holds |
    """
    lines = ["| | measured | ratio or value | limit | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        measured = ", ".join(f"{name} {_number(value)}" for name, value in row.values.items())
        limit = verdict = ""
        if not math.isnan(row.limit):
            limit = f"{'at least' if row.at_least else 'at most'} {row.limit:g}"
            verdict = row.verdict
        found = row.interval
        ratio = _number(found.middle)
        if found.low < found.high:
            ratio += f" [{_number(found.low)}, {_number(found.high)}]"
        lines.append(f"| {row.name} | {measured} | {ratio} | {limit} | {verdict} |")
    return "\n".join(lines)


def processor() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    """Measure the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--size", choices=("paper", "tiny"), default="paper")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = {
        "processor": processor(),
        "threads": options.threads,
        "size": options.size,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    rows = []
    for name in options.rows:
        rows += ROWS[name](options.size, options.repeats)
        print(table_of(rows[-1:]).splitlines()[-1], flush=True)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(table_of(rows))
    if options.json:
        content = {**facts, "rows": [{**asdict(row), "verdict": row.verdict} for row in rows]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
