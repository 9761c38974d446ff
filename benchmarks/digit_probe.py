"""Spoken digits by linear probe: what the packaged encoder knows, beside MFCC and random weights.

    python -m benchmarks.digit_probe FSDD_FOLDER [--encoder FOLDER] [--json OUT]

Every speaker is left out in turn; features are averaged over time; the regularisation is that of
`wavcube.metrics.linear_probe`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.features import mfcc_statistics, pooled, ssl_frames
from benchmarks.fsdd import digit_accuracy, read_takes
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.release.ssl_folder import load_encoder, packaged_encoder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", type=Path, default=packaged_encoder())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    trained = load_encoder(arguments.encoder)
    torch.manual_seed(0)
    untrained = SSLEncoder(**trained.config())
    takes = read_takes(arguments.folder, trained.sample_rate)
    wavs = [take.wav for take in takes]
    rows: dict[str, Callable[[], np.ndarray]] = {
        "MFCC mean + deviation": lambda: mfcc_statistics(wavs, trained.sample_rate),
        "untrained encoder": lambda: pooled(ssl_frames(untrained), wavs),
        "trained encoder": lambda: pooled(ssl_frames(trained), wavs),
    }
    results = {}
    for name, features in rows.items():
        by_speaker = digit_accuracy(features(), takes)
        results[name] = {"mean": float(np.mean(list(by_speaker.values()))), **by_speaker}
        scores = "  ".join(f"{key} {value:.3f}" for key, value in results[name].items())
        print(f"{name:24s} {scores}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
