"""Rows of the table of speed: inference."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch

from benchmarks.speed_models import Size, bare_wavlm, neighbours, paper_wavcube
from benchmarks.timing import Interval, in_turns, linear_products, median_ratio, medians
from wavcube.lobes.layers.linear import halve_matrices, quantize_linears
from wavcube.release.folder import load_release
from wavcube.release.source import packaged_model
from wavcube.testing import tone

RATE = 16000


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name : str
        What was measured.
    values : dict of str to float
        Seconds, bytes or errors, by name.
    ratio : float or Interval
        What the limit is for; measured in rounds, with its interval.
    limit : float
        That must not be passed.
    at_least : bool
        Whether the limit is from below.
    """

    name: str
    values: dict[str, float] = field(default_factory=dict)
    ratio: float | Interval = float("nan")
    limit: float = float("nan")
    at_least: bool = False

    @property
    def interval(self) -> Interval:
        """The ratio, whose interval is a point where nothing was repeated."""
        if isinstance(self.ratio, Interval):
            return self.ratio
        return Interval(self.ratio, self.ratio, self.ratio)

    @property
    def verdict(self) -> str:
        """Return whether the limit "holds", the row "falls short" or it is "not decided"."""
        low, high = self.interval.low, self.interval.high
        holds, fails = high <= self.limit, low > self.limit
        if self.at_least:
            holds, fails = low >= self.limit, high < self.limit
        return "holds" if holds else "falls short" if fails else "not decided"


def relative_error(made: torch.Tensor, expected: torch.Tensor) -> float:
    """Give the norm of the difference, of that of what was expected."""
    return float((made - expected).norm() / expected.norm())


@torch.inference_mode()
def encode(size: Size, repeats: int) -> list[Row]:
    """Time ours beside the bare WavLM-Large of transformers, which has three layers less."""
    ours, bare, rows = paper_wavcube(size), bare_wavlm(size), []
    for seconds, limit in ((10, 1.05), (40, 0.75)):
        wav = tone(seconds)[None]
        calls = {
            "ours": lambda wav=wav: ours.encode(wav),
            "bare WavLM": lambda wav=wav: bare(wav).last_hidden_state,
        }
        taken = in_turns(calls, repeats, [("ours", "bare WavLM")])
        ratio = median_ratio(taken, "ours", "bare WavLM")
        rows.append(Row(f"encode {seconds} s", medians(taken), ratio, limit))
    return rows


@torch.inference_mode()
def encode_rounded(size: Size, repeats: int) -> list[Row]:
    """Time bf16 and int8 beside our float32; the error of the latent is relative."""
    exact, wav, rows = paper_wavcube(size), tone(10)[None], []
    half, integers = copy.deepcopy(exact), copy.deepcopy(exact)
    halve_matrices(half, torch.bfloat16)
    quantize_linears(integers, torch.device("cpu"))

    def run_half() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return half.encode(wav)[0]

    calls = {
        "float32": lambda: exact.encode(wav)[0],
        "bf16": run_half,
        "int8": lambda: integers.encode(wav)[0],
    }
    taken = in_turns(calls, repeats, [("bf16", "float32"), ("int8", "float32")])
    expected = calls["float32"]()
    for kind in ("bf16", "int8"):
        error = relative_error(calls[kind](), expected)
        values = {**medians({k: taken[k] for k in ("float32", kind)}), "latent error": error}
        rows.append(Row(f"encode 10 s, {kind}", values, median_ratio(taken, kind, "float32"), 0.6))
        rows.append(Row(f"latent error of {kind}", {}, error, 0.02))
    return rows


@torch.inference_mode()
def decode(size: Size, repeats: int) -> list[Row]:
    """Time decoding: its growth with the duration, and how much of it its matrix products take."""
    model = paper_wavcube(size)
    short, long = (torch.randn(1, seconds * 50, model.latent_dim) for seconds in (10, 40))
    calls = {
        "10 s": lambda: model.decode(short),
        "40 s": lambda: model.decode(long),
    }
    calls["products"] = linear_products(model.decoder, calls["10 s"])
    taken = in_turns(calls, repeats, [("40 s", "10 s"), ("products", "10 s")])
    middle = medians(taken)
    share = median_ratio(taken, "products", "10 s")
    return [
        Row("decode 40 s / 10 s", middle, median_ratio(taken, "40 s", "10 s"), 4.4),
        Row("decode 10 s, share of its products alone", {}, share, 0.75, at_least=True),
    ]


@torch.inference_mode()
def packaged(size: Size, repeats: int) -> list[Row]:
    """Time the packaged model at two durations: its cost grows with the duration alone."""
    model, rows = load_release(packaged_model()), []
    long = 40 if size == "paper" else 20
    wavs = {seconds: tone(seconds)[None] for seconds in (10, long)}
    latents = {seconds: model.encode(wav)[0] for seconds, wav in wavs.items()}
    for kind in ("encode", "decode"):
        given, run = (wavs, model.encode) if kind == "encode" else (latents, model.decode)
        calls = {f"{s} s": lambda x=x, run=run: run(x) for s, x in given.items()}
        taken = in_turns(calls, repeats, [(f"{long} s", "10 s")])
        ratio = median_ratio(taken, f"{long} s", "10 s")
        name = f"WavCube-tiny, {kind} {long} s / 10 s"
        rows.append(Row(name, medians(taken), ratio, 1.1 * long / 10))
    return rows


@torch.inference_mode()
def against(size: Size, repeats: int) -> list[Row]:
    """Time the packaged model beside the codecs of transformers: 10 s there and back."""
    seconds = 10 if size == "paper" else 1
    model, wav = load_release(packaged_model()), tone(seconds)[None]
    calls = {"WavCube-tiny": lambda: model.decode(model.encode(wav)[0])}
    for name, (rate, run) in neighbours().items():
        given = tone(seconds, sample_rate=rate)[None]
        calls[name] = lambda run=run, given=given: run(given)
    others = [name for name in calls if name != "WavCube-tiny"]
    taken = in_turns(calls, repeats, [("WavCube-tiny", name) for name in others])
    middle = medians(taken)
    return [
        Row(
            f"encode + decode {seconds} s, beside {name}",
            {"WavCube-tiny": middle["WavCube-tiny"], name: middle[name]},
            median_ratio(taken, "WavCube-tiny", name),
            1.0,
        )
        for name in others
    ]
