"""Training and encoding at the paper's size on a GPU, against float32 without TensorFloat32.

    python -m benchmarks.accelerator [--batch 8] [--seconds 10] [--updates 20] [--json OUT]

Random weights. Updates of stage 2 with the paper's discriminators per second in bf16 and in float32
without TF32, the peak memory of both, and hours of speech that batches of 32 are encoded of in a
second of bf16. `--device cpu --size tiny` tries that it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path

import torch
from speechbrain.dataio.batch import PaddedBatch

from benchmarks.speed_models import Size, paper_wavcube
from benchmarks.speed_training import discriminators_of
from benchmarks.timing import linear_operations
from wavcube.latent.brain import LatentBrain
from wavcube.latent.settings import LatentSettings
from wavcube.lobes.layers.linear import halve_matrices
from wavcube.testing import tone

WEIGHTS = {
    "mel": 4.5,
    "semantic": 1.0,
    "anchoring": 1.0,
    "adversarial": 0.1,
    "feature_matching": 0.1,
}
GIB = 2**30
# dense bf16, of NVIDIA's data sheet
H200_PEAK = 989e12


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def train(options: argparse.Namespace, precision: str, tf32: bool) -> dict[str, float]:
    """Measure updates of stage 2."""
    on_gpu = options.device.startswith("cuda")
    settings = LatentSettings(
        updates=10**6,
        weights=WEIGHTS,
        lr=1e-4,
        encoder_lr=1e-4,
        discriminator_lr=1e-4,
        train_encoder="all",
        activation_checkpointing=options.recompute,
    )
    brain = LatentBrain(
        paper_wavcube(options.size, with_decoder=True),
        settings,
        discriminators_of(options.size),
        opt_class=lambda groups: torch.optim.AdamW(groups, lr=1e-4, betas=(0.8, 0.9), fused=True),
        run_opts={"device": options.device, "noprogressbar": True, "precision": precision},
    )
    # SpeechBrain switches it on
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    brain.on_fit_start()
    brain.modules.train()
    wavs = [{"wav": tone(options.seconds, seed=seed)} for seed in range(options.batch)]
    batch = PaddedBatch(wavs).to(options.device)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(min(3, options.updates)):
        brain.fit_batch(batch)
    _synchronise(options.device)
    started = time.perf_counter()
    for _ in range(options.updates):
        brain.fit_batch(batch)
    _synchronise(options.device)
    seconds = (time.perf_counter() - started) / options.updates
    peak = torch.cuda.max_memory_allocated() / GIB if on_gpu else float("nan")
    brain.end_training()
    del brain
    gc.collect()  # or the next run's peak would hold what is left of this one
    torch.cuda.empty_cache()
    return {"updates per second": 1 / seconds, "peak memory, GiB": peak}


@torch.inference_mode()
def encode(options: argparse.Namespace) -> dict[str, float]:
    """Measure encoding of batches in bf16."""
    size: Size = options.size
    model = paper_wavcube(size)
    short = tone(1.0)[None]
    operations = linear_operations(model, lambda: model.encode(short))
    halve_matrices(model, torch.bfloat16)
    model.to(options.device)
    batch = options.encode_batch
    wavs = torch.stack([tone(options.seconds)] * batch).to(options.device)

    def run() -> None:
        with torch.autocast(options.device.split(":")[0], torch.bfloat16):
            model.encode(wavs)

    run()
    _synchronise(options.device)
    started = time.perf_counter()
    for _ in range(options.updates):
        run()
    _synchronise(options.device)
    seconds = (time.perf_counter() - started) / options.updates
    spoken = batch * options.seconds
    return {
        "tokens per second": spoken * model.frame_rate / seconds,
        "hours of speech per second": spoken / 3600 / seconds,
        # Linears alone: convolutions and attention come on top
        "share of an H200's peak": operations * spoken / seconds / H200_PEAK,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=("paper", "tiny"), default="paper")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--encode_batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--recompute", action="store_true", help="activation checkpointing")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = {
        "stage 2, bf16": train(options, "bf16", tf32=True),
        "stage 2, float32 without TF32": train(options, "fp32", tf32=False),
        f"encode, bf16, batch {options.encode_batch}": encode(options),
    }
    half, full = (row["updates per second"] for row in list(measured.values())[:2])
    measured["stage 2, bf16 / float32"] = {"ratio": half / full}
    for name, values in measured.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
