"""VoiceBank-DEMAND (or any pairs of noisy and clean files in its folders) to manifests.

C. Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS
models", https://doi.org/10.7488/ds/2117. Two namings are in use:

- `clean_trainset_28spk_wav/`, `noisy_trainset_28spk_wav/`, `clean_testset_wav/`,
  `noisy_testset_wav/` (as published, 48 kHz; also `..._56spk_wav`, and with `_16k` appended);
- `clean/` and `noisy/` beside each other: at the top, or in `train/` and `test/`.

Partners have the same name and the same number of samples.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from wavcube.data.manifest import Utterance, require_disjoint_speakers
from wavcube.data.prepare import (
    BadFile,
    Made,
    check_files,
    find_audio,
    prepare_once,
    require_equal_length,
)

logger = logging.getLogger(__name__)

LISTED = 5
NAMINGS = ("{}", "{}_16k", "{}_*set_*", "train/{}", "train/{}_16k")


class Side(NamedTuple):
    """Folders of one part, noisy and clean."""

    noisy: Path
    clean: Path


def prepare_voicebank(
    data_folder: str | Path,
    out_folder: str | Path,
    *,
    valid_speakers: Sequence[str] = ("p226", "p287"),
    test_speakers: Sequence[str] = (),
    train_set: str = "28spk",
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Write two manifests for each of train, valid and test, whose rows are partners.

    Parameters
    ----------
    data_folder : str | Path
        The corpus, in one of the two namings.
    out_folder : str | Path
        For `train_noisy.csv`, `train_clean.csv` and so on; and `bad_files.csv` when pairs were
        left out.
    valid_speakers : Sequence[str]
        Of the training part, held out for validation; SUPERB-SG's by default.
    test_speakers : Sequence[str]
        Held back for test where the corpus has no part for it.
    train_set : {"28spk", "56spk"}
        Which of the published training parts.
    max_bad_fraction : float
        How many files may be bad before the run stops.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, Path]
        Manifest of "train_noisy", "train_clean" and so on. Row by row they have the same IDs.

    Raises
    ------
    FileNotFoundError
        When the folders or a file's partner are missing.
    ValueError
        When partners differ in length, a role has no speaker, two roles share one, or too many
        files are bad.
    """
    data_folder = Path(data_folder)
    sides = find_sides(data_folder, train_set)
    pairs = {part: list_pairs(side) for part, side in sides.items()}
    everything = [row for part in pairs.values() for pair in part for row in pair]
    arguments = {
        "data_folder": str(data_folder.resolve()),
        "valid_speakers": list(valid_speakers),
        "test_speakers": list(test_speakers),
        "train_set": train_set,
        "max_bad_fraction": max_bad_fraction,
    }

    def make() -> Made:
        scan = check_files(everything, max_bad_fraction=max_bad_fraction, progress=progress)
        durations = {row.wav: row.duration for row in scan.utterances}
        good = {part: check_pairs(found, durations) for part, found in pairs.items()}
        held_out = {"valid": valid_speakers, "test": test_speakers}
        return assign_roles(good, held_out, data_folder), list_bad(scan.bad, pairs)

    files = [Path(row.wav) for row in everything]
    return prepare_once(out_folder, arguments, files, make, data_root=data_folder)


def is_voicebank(folder: Path) -> bool:
    """Tell whether a folder holds noisy or clean recordings in one of the namings."""
    patterns = [naming.format(kind) for kind in Side._fields for naming in NAMINGS]
    return any(path.is_dir() for pattern in patterns for path in folder.glob(pattern))


def find_sides(data_folder: Path, train_set: str) -> dict[str, Side]:
    """Find the folders of "train" and, where there is one, "test", in either naming."""
    if not data_folder.is_dir():
        raise FileNotFoundError(f"there is no folder {data_folder}")
    namings = {
        "train": [f"{{}}_trainset_{train_set}_wav", "train/{}", "{}"],
        "test": ["{}_testset_wav", "test/{}"],
    }
    sides: dict[str, Side] = {}
    for part, patterns in namings.items():
        for pattern in [name + suffix for suffix in ("", "_16k") for name in patterns]:
            side = Side(*(data_folder / pattern.format(kind) for kind in Side._fields))
            there = [path.is_dir() for path in side]
            if all(there):
                sides.setdefault(part, side)
            elif any(there):
                here, missing = side if there[0] else side[::-1]
                raise FileNotFoundError(f"{here} has no partner: there is no folder {missing}")
    if "train" not in sides:
        raise FileNotFoundError(
            f"{data_folder} has neither clean_trainset_{train_set}_wav and "
            f"noisy_trainset_{train_set}_wav nor clean and noisy"
        )
    return sides


def list_pairs(side: Side) -> list[tuple[Utterance, Utterance]]:
    """Match a part's noisy and clean files by name; every file needs its partner."""
    noisy, clean = (
        {path.relative_to(folder).with_suffix("").as_posix(): path for path in find_audio(folder)}
        for folder in side
    )
    for here, there, folder in ((noisy, clean, side.clean), (clean, noisy, side.noisy)):
        alone = sorted(here.keys() - there.keys())
        if alone:
            shown = ", ".join(str(here[name]) for name in alone[:LISTED])
            raise FileNotFoundError(f"{len(alone)} files have no partner in {folder}: {shown}")
    rows = []
    for name in sorted(noisy):
        label = name.replace("/", "-")
        speaker = Path(name).name.partition("_")[0]
        rows.append(
            (
                Utterance(label, 0.0, str(noisy[name]), speaker),
                Utterance(label, 0.0, str(clean[name]), speaker),
            )
        )
    return rows


def check_pairs(
    pairs: Sequence[tuple[Utterance, Utterance]], durations: Mapping[str, float]
) -> list[tuple[Utterance, Utterance]]:
    """Keep the pairs of two good files; partners must have the same rate and length."""
    good = []
    for pair in pairs:
        if any(row.wav not in durations for row in pair):
            continue
        noisy, clean = (replace(row, duration=durations[row.wav]) for row in pair)
        require_equal_length(noisy.wav, clean.wav)
        good.append((noisy, clean))
    return good


def assign_roles(
    good: Mapping[str, Sequence[tuple[Utterance, Utterance]]],
    held_out: Mapping[str, Sequence[str]],
    data_folder: Path,
) -> dict[str, list[Utterance]]:
    """Hold speakers back from training; a corpus' own test part is all test."""
    known = sorted({noisy.spk_id for noisy, _ in good["train"]})
    wanted = {role: set(names) for role, names in held_out.items()}
    if "test" in good and wanted["test"]:
        raise ValueError(f"{data_folder} has a part for test; leave test_speakers empty")
    for role in wanted:
        unknown = sorted(wanted[role] - set(known))
        empty = not wanted[role] and role not in good
        if unknown or empty:
            raise ValueError(
                f"{role}_speakers must name speakers of the corpus, not {unknown}; "
                f"there are: {', '.join(known)}"
            )
    apart = wanted["valid"] | wanted["test"]
    roles = {
        "train": [pair for pair in good["train"] if pair[0].spk_id not in apart],
        "valid": [pair for pair in good["train"] if pair[0].spk_id in wanted["valid"]],
        "test": good.get("test")
        or [pair for pair in good["train"] if pair[0].spk_id in wanted["test"]],
    }
    for role, pairs in roles.items():
        if not pairs:
            raise ValueError(f"{data_folder}: no pair is left for {role}")
    require_disjoint_speakers({role: [noisy for noisy, _ in roles[role]] for role in roles})
    return {
        f"{role}_{kind}": [pair[place] for pair in pairs]
        for role, pairs in roles.items()
        for place, kind in enumerate(Side._fields)
    }


def list_bad(
    bad: Iterable[BadFile], pairs: Mapping[str, Sequence[tuple[Utterance, Utterance]]]
) -> list[BadFile]:
    """List the bad files and the good ones that were left out with them."""
    listed = list(bad)
    reasons = {file.wav: file.reason for file in listed}
    both = [pair for part in pairs.values() for pair in part]
    partners = {a.wav: b.wav for pair in both for a, b in (pair, pair[::-1])}
    alone = [partners[wav] for wav in reasons if partners[wav] not in reasons]
    return listed + [BadFile(wav, f"{wav} goes with {partners[wav]}") for wav in alone]
