"""Spoken digits of FSDD by the recogniser's recipe, every speaker left out in turn.

    python -m benchmarks.digit_recognition FSDD_FOLDER OUT_FOLDER [OPTIONS]

Writes OUT_FOLDER/SPEAKER.csv, trains a recogniser for each speaker on all the others by
hparams/asr_digits.yaml (the options are the recipe's), and prints the word error rates on those
whom it has never heard. Four speakers are few: training has copies of their recordings in other
voices and tempos beside them, and the package's own voices say the digits, too.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from wavcube.data.audio import read_audio, write_audio
from wavcube.data.synthetic.corpus import make_voices, render
from wavcube.data.synthetic.espeak import Espeak
from wavcube.metrics.folders import audio_files
from wavcube.tasks.conversion.perturbation import SpeakerPerturbation, stretch

REPOSITORY = Path(__file__).parents[1]
WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
COLUMN = "WER [%] ↓"
FSDD_RATE = 8000
COPY_RATE = 16000
TEMPO = 0.3  # largest logarithm of a copy's duration over the recording's


def speak_digits(folder: Path, voices: int) -> list[dict[str, object]]:
    """Let the package's voices say every digit once, and give the rows of the table.

    Examples
    --------
    >>> [row["wrd"] for row in speak_digits(getfixture("tmp_path"), 1)][:2]
    ['ZERO', 'ONE']
    """
    rows = []
    with Espeak() as espeak:
        for number, voice in enumerate(make_voices("train", voices, seed=1234)):
            rng = random.Random(number)
            for word in WORDS:
                path = folder / f"voice{number}" / f"{word}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                spoken = render(espeak, f"{word.capitalize()}.", voice, rng, FSDD_RATE) / 32768
                write_audio(path, torch.from_numpy(trim(spoken)).float(), FSDD_RATE)
                speaker = f"voice{number}"
                rows.append({"ID": f"{word}_{speaker}", "wav": path.resolve(), "spk_id": speaker})
                rows[-1]["wrd"] = word
    return rows


def trim(wav: np.ndarray, level: float = 0.02, margin: float = 0.05) -> np.ndarray:
    """Leave out the silence around a word, as FSDD's recordings do, but for a margin in seconds.

    Examples
    --------
    >>> len(trim(np.pad(np.ones(800), 8000)))
    1600
    """
    loud = np.flatnonzero(np.abs(wav) > level * np.abs(wav).max())
    more = round(margin * FSDD_RATE)
    return wav[max(0, loud[0] - more) : loud[-1] + 1 + more]


def read_folder(folder: Path) -> list[dict[str, object]]:
    """Give the rows of FSDD's recordings.

    Raises
    ------
    ValueError
        If a file has another name than FSDD's have.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "7_theo_0.wav").touch()
    >>> [(row["spk_id"], row["wrd"]) for row in read_folder(folder)]
    [('theo', 'SEVEN')]
    """
    rows = []
    for name, path in audio_files(folder).items():
        parts = name.rpartition("/")[2].split("_")
        if len(parts) != 3 or not parts[0].isdecimal():
            raise ValueError(f"{path} is not named DIGIT_SPEAKER_TAKE as FSDD's files are")
        rows.append({"ID": "_".join(parts), "wav": path.resolve(), "spk_id": parts[1]})
        rows[-1]["wrd"] = WORDS[int(parts[0])]
    return rows


def copy_recordings(
    rows: list[dict[str, object]], folder: Path, copies: int
) -> list[dict[str, object]]:
    """Write copies of recordings in other voices and tempos, and give their rows."""
    perturb, made = SpeakerPerturbation(), []
    folder.mkdir(parents=True, exist_ok=True)
    for row, number in tqdm(list(itertools.product(rows, range(copies))), desc="copies"):
        name = f"{row['ID']}_copy{number}"
        path = (folder / f"{name}.flac").resolve()
        if not path.exists():
            rng = np.random.default_rng(list(name.encode()))
            wav = perturb(read_audio(row["wav"], COPY_RATE), rng)
            write_audio(path, stretch(wav, math.exp(rng.uniform(-TEMPO, TEMPO))), COPY_RATE)
        made.append({**row, "ID": name, "wav": path})
    return made


def write_table(rows: list[dict[str, object]], path: Path) -> Path:
    """Write the recipe's table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["ID", "wav", "spk_id", "wrd"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def main() -> None:
    """Print a line for each speaker, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voices", type=int, default=144, help="of the package, for training")
    parser.add_argument("--copies", type=int, default=2, help="of a recording, for training")
    arguments, options = parser.parse_known_args()
    rows = read_folder(arguments.folder)
    copies = copy_recordings(rows, arguments.out / "copies", arguments.copies)
    spoken = speak_digits(arguments.out / "spoken", arguments.voices) if arguments.voices else []
    rates = {}
    for speaker in sorted({str(row["spk_id"]) for row in rows}):
        run = arguments.out / speaker
        others = [row for row in copies if row["spk_id"] != speaker]
        table = write_table([*rows, *others, *spoken], arguments.out / f"{speaker}.csv")
        command = [
            sys.executable,
            str(REPOSITORY / "recipes" / "LibriSpeech" / "train_asr.py"),
            str(REPOSITORY / "hparams" / "asr_digits.yaml"),
            f"--data_folder={table}",
            f"--test_speakers=[{speaker}]",
            f"--output_folder={run}",
            f"--cache_folder={arguments.out / 'cache'}",
            *options,
        ]
        subprocess.run(command, check=True)
        scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["scores"]
        rates[speaker] = scores["recognition"][COLUMN]["mean"]
        print(f"{speaker}: {rates[speaker]:.1f} % of the words wrong", flush=True)
    print(f"mean: {sum(rates.values()) / len(rates):.1f} %")


if __name__ == "__main__":
    main()
