"""Rows of the table of speed: memory, each peak of a process of its own, and what saving costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.speed_models import Size, paper_wavcube
from benchmarks.speed_rows import Row
from benchmarks.timing import in_turns, median_ratio, medians
from wavcube.data.audio import AudioWriter
from wavcube.inference import WavCube
from wavcube.release.card import ModelCard
from wavcube.release.folder import write_release
from wavcube.release.source import packaged_model
from wavcube.testing import tone

GIB = 2**30
# what a child runs: source or nothing, run options, input, output or nothing
CHILD = """
import json, sys
import torch
torch.set_num_threads(int(sys.argv[1]))
from wavcube import WavCube
source, given, out, options = json.loads(sys.argv[2])
if source:
    model = WavCube.from_hparams(source, run_opts={"device": "cpu", **options})
    if out:
        model.resynthesize_file(given, out, overwrite=True, keep=False)
    else:
        model.encode_file(given)
print(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
"""
CARD = ModelCard(
    title="Random weights",
    summary="For measurements alone.",
    weights_license="Apache-2.0",
    commercial_use="yes",
    upstream=[],
    data=[],
    command="python -m benchmarks.speed",
)


def peak_memory(source: Path | None, options: dict[str, str], given: Path, out: Path | None) -> int:
    """Measure the largest resident size of a process that loads a release and uses it, in bytes.

    Without a source it is that of the imports alone.
    """
    task = json.dumps([*(str(x) if x else None for x in (source, given, out)), options])
    command = [sys.executable, "-c", CHILD, str(torch.get_num_threads()), task]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) * 1024


def write_speech(path: Path, seconds: int) -> Path:
    """Write a recording of any length without holding it."""
    piece = tone(10)
    with AudioWriter(path, 16000) as writer:
        for _ in range(seconds // 10):
            writer.write(piece)
    return path


def load_and_encode(size: Size, repeats: int) -> list[Row]:
    """Load a release of the paper's size and encode 10 s: float32, and float16 in bf16."""
    del repeats
    rows, limit = [], 2.3
    with tempfile.TemporaryDirectory() as folder:
        wav = write_speech(Path(folder) / "a.wav", 10)
        imports = peak_memory(None, {}, wav, None) / GIB
        for kind, options, share in (
            (torch.float32, {}, 1.0),
            (torch.float16, {"precision": "bf16"}, 0.5),
        ):
            source = write_release(
                paper_wavcube(size), Path(folder) / "release", card=CARD, dtype=kind, overwrite=True
            )
            peak = peak_memory(source, options, wav, None) / GIB
            name = f"peak memory, load and encode 10 s, {kind}".replace("torch.", "")
            rows.append(Row(name, {"GiB": peak, "of it imports": imports}, peak, limit * share))
    return rows


@torch.inference_mode()
def encode_stored(size: Size, repeats: int) -> list[Row]:
    """Time bf16 with matrices that are read from a float16 release, beside those that are kept."""
    kept, rows = paper_wavcube(size), []
    options = {"device": "cpu", "precision": "bf16"}
    with tempfile.TemporaryDirectory() as folder:
        release = write_release(kept, Path(folder) / "a", card=CARD, dtype=torch.float16)
        stored = WavCube.from_hparams(release, run_opts=options)
        model = WavCube({"wavcube": kept}, run_opts=options)
        for seconds in (1, 10):
            wav = tone(seconds)[None]
            calls = {
                "kept": lambda wav=wav: model.encode_batch(wav),
                "read at every call": lambda wav=wav: stored.encode_batch(wav),
            }
            taken = in_turns(calls, repeats, [("read at every call", "kept")])
            ratio = median_ratio(taken, "read at every call", "kept")
            rows.append(Row(f"encode {seconds} s, bf16, float16 release", medians(taken), ratio))
    return rows


def _hour(source: Path, label: str, hour: int) -> Row:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peaks = {}
        for seconds in (120, hour):
            wav = write_speech(folder / "a.wav", seconds)
            peaks[f"{seconds} s, GiB"] = peak_memory(source, {}, wav, folder / "b.wav") / GIB
    short, long = peaks.values()
    return Row(
        f"peak memory, {hour} s beside 120 s there and back, {label}", peaks, long / short, 1.3
    )


def hour_packaged(size: Size, repeats: int) -> list[Row]:
    """Encode and decode an hour by the packaged model."""
    del repeats
    return [_hour(packaged_model(), "WavCube-tiny", 3600 if size == "paper" else 240)]


def hour(size: Size, repeats: int) -> list[Row]:
    """Encode and decode an hour at the paper's size: takes about as long as it lasts."""
    del repeats
    with tempfile.TemporaryDirectory() as folder:
        source = write_release(paper_wavcube(size), Path(folder) / "release", card=CARD)
        return [_hour(source, f"{size} size", 3600 if size == "paper" else 240)]
