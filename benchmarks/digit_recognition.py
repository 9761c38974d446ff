"""Spoken digits of FSDD by the recogniser's recipe, every speaker left out in turn.

    python -m benchmarks.digit_recognition FSDD_FOLDER OUT_FOLDER [OPTIONS OF THE RECIPE]

Writes OUT_FOLDER/digits.csv, trains a recogniser for each speaker on all the others with
hparams/asr_digits.yaml, and prints the word error rates on those whom it has never heard.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from wavcube.metrics.folders import audio_files

REPOSITORY = Path(__file__).parents[1]
WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
COLUMN = "WER [%] ↓"


def write_table(folder: Path, out: Path) -> list[str]:
    """Write the recipe's table of FSDD, and give the speakers.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "7_theo_0.wav").touch()
    >>> write_table(folder, folder / "digits.csv")
    ['theo']
    >>> (folder / "digits.csv").read_text().splitlines()[1].split(",")[2:]
    ['theo', 'SEVEN']
    """
    rows = []
    for name, path in audio_files(folder).items():
        parts = name.rpartition("/")[2].split("_")
        if len(parts) != 3 or not parts[0].isdecimal():
            raise ValueError(f"{path} is not named DIGIT_SPEAKER_TAKE as FSDD's files are")
        rows.append({"ID": "_".join(parts), "wav": path.resolve(), "spk_id": parts[1]})
        rows[-1]["wrd"] = WORDS[int(parts[0])]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["ID", "wav", "spk_id", "wrd"])
        writer.writeheader()
        writer.writerows(rows)
    return sorted({row["spk_id"] for row in rows})


def main() -> None:
    """Print a line for each speaker, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments, options = parser.parse_known_args()
    table = arguments.out / "digits.csv"
    rates = {}
    for speaker in write_table(arguments.folder, table):
        run = arguments.out / speaker
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
