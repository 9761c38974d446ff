"""What a manifest of a million rows costs: index, hash, random access and batches.

    python -m benchmarks.large_manifest [--rows 1000000] [--gz]

The rows are made up, and so are the recordings that they name: nothing is read from them. Each
figure is of a process of its own: processor time, and the peak of its resident memory above what
its imports take.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

WORDS = ("speech", "latent", "of", "the", "and", "recording", "quite", "never", "reading", "aloud")
SPEAKERS, PER_RECORDING, WORDS_PER_ROW = 6000, 100, 35
DRAWN = 10_000


def write_rows(path: Path, rows: int, seed: int = 0) -> None:
    """Write a manifest like LibriHeavy's: segments of long recordings with their text."""
    rng = random.Random(seed)
    with gzip.open(path, "wt", 1) if path.suffix == ".gz" else path.open("w") as file:
        for number in range(rows):
            book, speaker = number // PER_RECORDING, number % SPEAKERS
            row = {
                "id": f"large/{speaker}/book_{book}/{number}",
                "path": f"librilight/{speaker}/book_{book}.flac",
                "start": round(number % PER_RECORDING * 30.0, 2),
                "duration": round(rng.uniform(2, 30), 3),
                "speaker": str(speaker),
                "text": " ".join(rng.choices(WORDS, k=WORDS_PER_ROW)),
            }
            file.write(f"{json.dumps(row)}\n")


def measure(path: Path, use: bool) -> None:
    """Open a manifest, and use it if asked to; print a line for each step."""
    import numpy as np

    from wavcube.data.segments import open_segments
    from wavcube.data.segments.batches import DurationBatches
    from wavcube.data.segments.splitting import hold_back

    imports, started = _peak(), time.process_time()

    def tell(step: str) -> None:
        nonlocal started
        seconds, above = time.process_time() - started, _peak() - imports
        print(f"| {step} | {seconds:.2f} s | {above:.0f} MiB |", flush=True)
        started = time.process_time()

    segments = open_segments(path)
    tell("open" if use else "the first opening, which makes the index")
    if not use:
        return
    segments.content_hash  # noqa: B018 - what tells one extraction from another
    tell("hash of all segments")
    rng = np.random.default_rng(0)
    for _ in range(DRAWN):
        segments[segments.draw(rng)]
    tell(f"{DRAWN} random rows")
    hold_back(segments, {"test": 200, "valid": 64}, shortest=1, longest=30, seed=1)
    tell("hold speakers back")
    batches = DurationBatches(segments.durations, max_seconds=200, max_rows=64, seed=1)
    tell(f"{len(batches)} batches of an epoch")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_manifest")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--gz", action="store_true", help="ordinary gzip in place of plain text")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--use", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure is not None:
        measure(options.measure, options.use)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"speech.jsonl{'.gz' * options.gz}"
        write_rows(path, options.rows)
        own = [sys.executable, "-m", "benchmarks.large_manifest", "--measure", str(path)]
        print("| step | processor time | peak memory above imports |\n|---|---|---|", flush=True)
        for extra in ([], ["--use"]):
            subprocess.run([*own, *extra], check=True)
        index = sum(part.stat().st_size for part in Path(folder).glob("*.index/*"))
        size = path.stat().st_size
    print(f"manifest {size / 2**20:.0f} MiB, its index {index / 2**20:.0f} MiB")


def _peak() -> float:
    """Peak resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
