"""What each representation keeps of speech and what it knows: WavCube beside its neighbours.

    python -m benchmarks.representations --acoustic RELEASE --stage1 RELEASE --stage2 RELEASE
        [--speech synthetic LibriSpeech/test-other VCTK-Corpus-0.92/wav48_silence_trimmed/p227]
        [--digits FSDD_FOLDER] [--utterances 50] [--processes 2] --json OUT

Prints one table of scores for each set of speech, and one of linear probes on FSDD. A release that
is not given has no row; one with its training state has another for the SSL feature that its
semantic decoder restores from the latent. Whole recordings are resynthesised one by one and scored
unpadded, at the models' rate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from benchmarks.griffin_lim import ITERATIONS, griffin_lim
from benchmarks.knowledge import PROBE, knowledge_table, probe
from benchmarks.speech_sets import SYNTHETIC, SpeechSet, read_sets
from wavcube import WavCube
from wavcube.cli.files import check_output
from wavcube.experiment.report import Resynthesis, score_rows, table_as_dict
from wavcube.experiment.run import exit_on_user_error
from wavcube.lobes.wavcube import WavCube as LobeWavCube
from wavcube.metrics import Summary, format_table
from wavcube.metrics.scores import select_metrics
from wavcube.release.card import library_versions
from wavcube.release.folder import TRAINING_FILE, load_for_training
from wavcube.release.ssl_folder import load_encoder, packaged_encoder
from wavcube.utils.files import write_atomically

METRICS = (
    "pesq_wb", "stoi", "estoi", "si_sdr", "mel_distance", "mel_cepstral_distortion",
    "f0_correlation", "voicing_error", "speaker_similarity", "wer",
)  # fmt: skip
ORIGINAL, GRIFFIN_LIM = "original", "log-mel, Griffin-Lim"
MODELS = {
    "acoustic": "acoustic-only codec",
    "stage1": "WavCube, stage 1",
    "stage2": "WavCube, stage 2",
}


def copy_set(speech: SpeechSet, models: Mapping[str, WavCube], rate: int) -> dict[str, Resynthesis]:
    """Make every row's copies of a set."""
    makers: dict[str, Callable[[Tensor], Tensor]] = {
        ORIGINAL: lambda wav: wav,
        GRIFFIN_LIM: lambda wav: griffin_lim(wav, rate),
        **{label: lambda wav, model=model: model(wav)[0] for label, model in models.items()},
    }
    originals = {name: wav.numpy() for name, wav in speech.clips.items()}
    rows = {}
    for label, make in makers.items():
        bar = tqdm(speech.clips.items(), desc=f"{speech.name}: {label}", unit="clip")
        copies = {name: make(wav).cpu().numpy() for name, wav in bar}
        rows[label] = Resynthesis(rate, originals, copies, transcripts=speech.transcripts)
    return rows


def print_scores(name: str, clips: int, table: Mapping[str, Mapping[str, Summary]]) -> None:
    """Print the table of one set, its columns in the order of ``METRICS``."""
    rows: dict[str, dict[str, Summary | str]] = {
        label: {key: row[key] for key in METRICS if key in row} for label, row in table.items()
    }
    if "si_sdr" in rows[ORIGINAL]:
        rows[ORIGINAL]["si_sdr"] = "∞"
    print(f"\n{name}, {clips} clips\n\n{format_table(rows)}", flush=True)


def describe_models(models: Mapping[str, WavCube]) -> dict[str, dict[str, Any]]:
    """Name each model by what it is."""
    return {
        label: {
            "class": type(model.mods.wavcube).__name__,
            "parameters": sum(p.numel() for p in model.mods.parameters()),
            "latent_dim": model.latent_dim,
            "frame_rate": model.frame_rate,
            "model_hash": model.model_hash,
        }
        for label, model in models.items()
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="representations", description=(__doc__ or "").split("\n")[0]
    )
    for name, label in MODELS.items():
        parser.add_argument(f"--{name}", metavar="RELEASE", help=f"row {label!r}")
    text = f"folders of recordings, or {SYNTHETIC!r} (the default): the synthetic test voices"
    parser.add_argument("--speech", nargs="*", default=[SYNTHETIC], metavar="FOLDER", help=text)
    parser.add_argument("--utterances", type=int, default=50, help="of a set at most; default 50")
    text = "seconds of an utterance at least; default 1, since STOI needs 0.4 s of speech"
    parser.add_argument("--shortest", type=float, default=1.0, help=text)
    parser.add_argument("--digits", type=Path, metavar="FOLDER", help="FSDD, for the probes")
    parser.add_argument("--encoder", type=Path, default=packaged_encoder(), metavar="FOLDER")
    parser.add_argument("--metrics", default=",".join(METRICS), metavar="A,B")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="to score with")
    parser.add_argument("--device", default="cpu", help="of the models; default cpu")
    parser.add_argument("--json", required=True, type=Path, metavar="OUT")
    parser.add_argument("--overwrite", action="store_true", help="replace the JSON file")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace, rate: int) -> dict[str, WavCube]:
    """Load the releases that were given, by their rows' labels."""
    given = {label: getattr(options, name) for name, label in MODELS.items()}
    models = {
        label: WavCube.from_hparams(source, run_opts={"device": options.device})
        for label, source in given.items()
        if source is not None
    }
    for label, model in models.items():
        if model.sample_rate != rate:
            raise ValueError(f"{label} works at {model.sample_rate} Hz, the SSL encoder at {rate}")
    return models


def load_restorers(options: argparse.Namespace) -> dict[str, LobeWavCube]:
    """Load the WavCubes that were given with their semantic decoder, by their rows' labels."""
    found = {}
    for name, label in MODELS.items():
        source = getattr(options, name)
        if source is not None and (Path(source) / TRAINING_FILE).is_file():
            lobe, _ = load_for_training(source)
            if isinstance(lobe, LobeWavCube):
                found[label] = lobe
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the tables and write the figures behind them."""
    options = parse(arguments)
    metrics = options.metrics.split(",")
    with exit_on_user_error("representations"):
        check_output(options.json, options.overwrite)
        select_metrics(metrics)
        encoder = load_encoder(options.encoder)
        rate = encoder.sample_rate
        models = load(options, rate)
        sets = read_sets(options.speech, rate, options.utterances, options.shortest)
    content: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.representations", *(arguments or sys.argv[1:])]),
        "sample_rate": rate,
        "griffin_lim_iterations": ITERATIONS,
        "models": describe_models(models),
        "versions": {**library_versions(), "scikit-learn": version("scikit-learn")},
        "sets": {},
    }
    for label, facts in content["models"].items():
        print(f"{label}: {facts['class']}, {facts['parameters'] / 1e6:.2f} M parameters")
    for speech in sets:
        table = score_rows(copy_set(speech, models, rate), metrics, options.processes)
        print_scores(speech.name, len(speech.clips), table)
        facts = {"clips": list(speech.clips), "with_transcript": sorted(speech.transcripts)}
        content["sets"][speech.name] = {**facts, **table_as_dict(table)}
        write(options.json, content)
    if options.digits is not None:
        content["probe"] = PROBE
        restorers = load_restorers(options)
        heard = [wav for speech in sets for wav in speech.clips.values()]
        content["knowledge"] = probe(options.digits, models, restorers, encoder, heard)
        print(f"\n{PROBE['name']}\n\n{knowledge_table(content['knowledge'])}", flush=True)
        write(options.json, content)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write what is known so far; that the file may be replaced is checked at the start."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, text.encode(), overwrite=True)


if __name__ == "__main__":
    main()
