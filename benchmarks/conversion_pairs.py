"""What a voice converter makes of real speech: every pair of some speakers of VCTK.

    python -m benchmarks.conversion_pairs RELEASE VCTK-Corpus-0.92 --speakers p225 p226 p227

Sentences that source and target both say are converted, with other recordings of the target for a
reference; the first row is the source as WavCube gives it back.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.data.prepare import check_files
from wavcube.inference import WavCubeVoiceConverter
from wavcube.metrics import format_table
from wavcube.tasks.conversion.trials import (
    DISTORTION,
    GAINED,
    TO_SOURCE,
    TO_TARGET,
    make_trials,
    read_references,
    score_trials,
)


def find_rows(folder: Path, speakers: Sequence[str]) -> list[Utterance]:
    """Read the utterances of some of VCTK's speakers, with their words."""
    rows = []
    for speaker in speakers:
        for path in sorted(folder.glob(f"wav48*/{speaker}/*.*")):
            name = path.stem.partition("_mic")[0]
            words = (folder / "txt" / speaker / f"{name}.txt").read_text(encoding="utf-8")
            rows.append(Utterance(path.stem, 0.0, str(path), speaker, " ".join(words.split())))
    return list(check_files(rows, progress=False).utterances)


def main() -> None:
    """Convert, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("release", help="folder that the recipe wrote")
    parser.add_argument("corpus", type=Path, help="folder with txt and wav48*")
    parser.add_argument("--speakers", nargs="+", required=True)
    parser.add_argument("--sentences", type=int, default=3, help="of each pair")
    parser.add_argument("--reference_seconds", type=float, default=60.0)
    parser.add_argument(
        "--metrics", nargs="*", default=["wer", "f0_correlation", DISTORTION, *GAINED]
    )
    options = parser.parse_args()
    user = WavCubeVoiceConverter.from_hparams(options.release, run_opts={"device": "cpu"})
    rate, codec = user.sample_rate, user.mods.model.representation
    seconds = options.reference_seconds
    rows = find_rows(options.corpus, options.speakers)
    trials = make_trials(rows, sentences=options.sentences, reference_seconds=seconds)
    copied, converted = {}, {}
    for trial in tqdm(trials, desc="conversion"):
        wav = read_audio(trial.source.wav, rate)
        with torch.inference_mode():
            copied[trial.name] = codec.model.decode(*codec(wav[None]), length=len(wav))[0]
        reference = read_references(trial, rate, seconds)
        converted[trial.name] = user.convert_batch(wav[None], reference[None])[0]
    scored = {
        label: score_trials(trials, made, rate, options.metrics)
        for label, made in (("source, resynthesised", copied), ("converted", converted))
    }
    for pair in dict.fromkeys(trial.pair for trial in trials):
        own = [trial for trial in trials if trial.pair == pair]
        found = score_trials(own, converted, rate, [], progress=False)
        scored[" to ".join(pair)] = {name: found[name] for name in (TO_TARGET, TO_SOURCE)}
    print(format_table(scored))


if __name__ == "__main__":
    main()
