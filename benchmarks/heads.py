"""Heads on representations: every recipe's default command with each front end, over seeds.

    python -m benchmarks.heads OUT_FOLDER [--heads NAME ...] [--seeds 1 2 3] [--table-only]

Runs what is missing, one run after another, each in a folder of its own under OUT_FOLDER (call it
again after an interruption: runs resume, finished ones are read), and prints a table of each task:
mean and standard deviation over the seeds. Head, data, batches and number of updates are the same
in a table, and the masks see the representation alone (`--with_spectrum False`), as SUPERB's do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
REPRESENTATIONS = ("wavcube", "ssl", "mel")
Cell = Mapping[str, float]


@dataclass(frozen=True)
class Head:
    """A recipe's experiment and what of its scores is shown.

    Parameters
    ----------
    script, hparams : str
        Below recipes/ and hparams/.
    row : str
        Of the trained model in metrics.json.
    columns : tuple of str
        Of its scores.
    representations : tuple of str
        It is trained on; "-" for a head that has none.
    options : tuple of str
        Further ones of the command.
    shares_cache : bool
        Whether runs read each other's stored representations.
    """

    script: str
    hparams: str
    row: str
    columns: tuple[str, ...]
    representations: tuple[str, ...] = REPRESENTATIONS
    options: tuple[str, ...] = ()
    shares_cache: bool = False

    def command(self, representation: str, seed: int, folder: Path) -> list[str]:
        """Give the command of one run."""
        chosen = f"--representation=!include:representation/{representation}.yaml"
        return [
            sys.executable,
            str(REPOSITORY / "recipes" / self.script),
            str(REPOSITORY / "hparams" / self.hparams),
            f"--seed={seed}",
            f"--output_folder={folder}",
            *([] if representation == "-" else [chosen]),
            *([f"--cache_folder={folder.parent / 'cache'}"] if self.shares_cache else []),
            *self.options,
        ]


ENHANCEMENT = ("PESQ-WB gain [MOS]", "STOI gain", "SI-SDR gain [dB]")
SEPARATION = ("SI-SDR gain [dB]", "STOI gain", "PESQ-WB gain [MOS]")
LATENT = ("wavcube",)
FEATURES_ALONE = ("--with_spectrum=False",)
# of the other separators, whose updates cost more
SAME_BATCHES = "--batch_size=4"
ENHANCE, SEPARATE = "VCTK/train_enhancement.py", "Libri2Mix/train_separation.py"
HEADS = {
    "recognition": Head(
        "LibriSpeech/train_asr.py",
        "asr.yaml",
        "recognition",
        ("WER [%] ↓", "CER [%] ↓"),
        shares_cache=True,
    ),
    "enhancement, mask": Head(
        ENHANCE, "enhancement.yaml", "mask", ENHANCEMENT, options=FEATURES_ALONE
    ),
    "enhancement, latent": Head(ENHANCE, "enhancement_latent.yaml", "latent", ENHANCEMENT, LATENT),
    "separation, mask": Head(
        SEPARATE, "separation.yaml", "mask", SEPARATION, options=(*FEATURES_ALONE, SAME_BATCHES)
    ),
    "separation, latent": Head(SEPARATE, "separation_latent.yaml", "latent", SEPARATION, LATENT),
    "separation, Conv-TasNet": Head(
        SEPARATE, "separation_convtasnet.yaml", "Conv-TasNet", SEPARATION, ("-",)
    ),
    "conversion": Head(
        "VCTK/train_voice_conversion.py",
        "voice_conversion.yaml",
        "conversion",
        ("Similarity to target ↑", "Similarity to source ↓", "Pairs nearer the target ↑"),
        LATENT,
    ),
}


def read_cell(folder: Path, head: Head) -> Cell | None:
    """Read the means of a finished run; None of one that is not.

    Raises
    ------
    KeyError
        If the run has no such score.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        return None
    scores = json.loads(path.read_text(encoding="utf-8"))["scores"][head.row]
    if missing := [name for name in head.columns if name not in scores]:
        raise KeyError(f"{path}: no scores {missing}; there are {sorted(scores)}")
    return {name: scores[name]["mean"] for name in head.columns}


def summarise(values: Sequence[float]) -> str:
    """Print mean and spread.

    Examples
    --------
    >>> summarise([1.0, 2.0, 3.0]), summarise([0.15]), summarise([])
    ('2.00 ± 1.00', '0.150', '-')
    """
    if not values:
        return "-"
    mean = statistics.fmean(values)
    digits = 2 if abs(mean) >= 1 else 3
    shown = f"{mean:.{digits}f}"
    return shown if len(values) == 1 else f"{shown} ± {statistics.stdev(values):.{digits}f}"


def table(name: str, head: Head, cells: Mapping[str, Sequence[Cell]]) -> str:
    """Lay out a head's scores: a row for each representation.

    Examples
    --------
    >>> head = Head("a.py", "a.yaml", "a", ("WER",), ("mel",))
    >>> print(table("a", head, {"mel": [{"WER": 10.0}, {"WER": 14.0}]}))
    | a | WER | runs |
    |---|---|---|
    | mel | 12.00 ± 2.83 | 2 |
    """
    lines = [f"| {name} | {' | '.join(head.columns)} | runs |"]
    lines.append("|---" * (len(head.columns) + 2) + "|")
    for representation in head.representations:
        runs = cells[representation]
        values = [summarise([run[column] for run in runs]) for column in head.columns]
        lines.append(f"| {representation} | {' | '.join(values)} | {len(runs)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--table-only", action="store_true", help="of the runs that are there")
    arguments = parser.parse_args()
    for name in arguments.heads:
        head = HEADS[name]
        cells: dict[str, list[Cell]] = {key: [] for key in head.representations}
        for seed in arguments.seeds:
            for representation, found in cells.items():
                folder = arguments.out / name.replace(", ", "_") / f"{representation}_{seed}"
                if not arguments.table_only and read_cell(folder, head) is None:
                    command = head.command(representation, seed, folder)
                    subprocess.run(command, check=True)
                cell = read_cell(folder, head)
                found.extend([] if cell is None else [cell])
        print(table(name, head, cells), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
