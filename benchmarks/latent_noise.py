"""What errors in the latents cost the sound: noise and rounding.

    python -m benchmarks.latent_noise LibriSpeech/test-other [--source RELEASE ...]

A head that predicts latents makes errors. This says how large they may be.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.speech_sets import read_sets
from wavcube import WavCube
from wavcube.experiment.report import Resynthesis, score_rows
from wavcube.experiment.run import exit_on_user_error
from wavcube.metrics import Summary, format_table

METRICS = ("pesq_wb", "stoi", "mel_distance")
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2)
ROUNDED = {"float16": torch.float16, "bfloat16": torch.bfloat16}

Fault = Callable[[Tensor], Tensor]


def noise(share: float, deviation: Tensor, seed: int = 0) -> Fault:
    """Give a function that adds Gaussian noise to latents `[1, N, D]`."""
    generator = torch.Generator().manual_seed(seed)
    return lambda latents: (
        latents + share * deviation * torch.randn(latents.shape, generator=generator)
    )


def compare(
    model: WavCube, speech: dict[str, Tensor], progress: bool = True
) -> dict[str, dict[str, Summary]]:
    """Score what a model decodes of its latents, faults added to them."""
    latents = {name: model.encode_batch(wav[None])[0].cpu() for name, wav in speech.items()}
    deviation = torch.cat([each[0] for each in latents.values()]).std(0)
    faults: dict[str, Fault] = {f"noise of {s:.0%}": noise(s, deviation) for s in SHARES}
    for name, dtype in ROUNDED.items():
        faults[name] = lambda each, dtype=dtype: each.to(dtype).float()
    originals = {name: wav.numpy() for name, wav in speech.items()}
    rows = {}
    for label, fault in faults.items():
        copies = {
            name: model.decode_batch(fault(each), length=len(speech[name]))[0].cpu().numpy()
            for name, each in latents.items()
        }
        rows[label] = Resynthesis(model.sample_rate, originals, copies)
    return score_rows(rows, METRICS, progress=progress)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent_noise")
    parser.add_argument("speech", type=Path, help="folder of recordings")
    parser.add_argument("--source", nargs="*", default=[None], metavar="RELEASE")
    parser.add_argument("--utterances", type=int, default=12, help="at most; default 12")
    options = parser.parse_args(arguments)
    for source in options.source:
        with exit_on_user_error("latent_noise"):
            model = WavCube.from_hparams(source, run_opts={"device": "cpu"})
            [chosen] = read_sets([str(options.speech)], model.sample_rate, options.utterances, 1.0)
        print(f"\n{source or 'the packaged model'}\n\n{format_table(compare(model, chosen.clips))}")


if __name__ == "__main__":
    main()
