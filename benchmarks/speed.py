"""Speed of encoding and decoding, as a multiple of real time.

    python -m benchmarks.speed [--source RELEASE] [--threads 2] [--json OUT]

Without a release it is the model of the package. Medians; ratios are of one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from wavcube.export import load_release
from wavcube.lobes.latent_codec import LatentCodec
from wavcube.release.source import packaged_model

SECONDS = (10, 40)
REPEATS = 7


def median_seconds(call: Callable[[], object]) -> float:
    """Median wall-clock time of a call, after one that does not count."""
    call()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@torch.inference_mode()
def measure(model: LatentCodec) -> dict[str, dict[str, float]]:
    """Time both directions at both durations."""
    result: dict[str, dict[str, float]] = {"encode": {}, "decode": {}}
    for seconds in SECONDS:
        wavs = 0.1 * torch.randn(1, seconds * model.sample_rate)
        latents, lens = model.encode(wavs)
        calls = {
            "encode": lambda wavs=wavs: model.encode(wavs),
            "decode": lambda latents=latents, lens=lens: model.decode(latents, lens),
        }
        for name, call in calls.items():
            result[name][f"{seconds} s"] = median_seconds(call)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", type=Path, default=packaged_model())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_release(arguments.source)
    measured = measure(model)
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, "
        f"{arguments.threads} threads, float32, torch {torch.__version__}"
    )
    print("| | 10 s takes | times real time | 40 s takes | 40 s / 10 s |\n|---|---|---|---|---|")
    for name, times in measured.items():
        short, long = times["10 s"], times["40 s"]
        print(f"| {name} | {short:.3f} s | {10 / short:.0f} | {long:.3f} s | {long / short:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
