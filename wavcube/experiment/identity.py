"""What a run of a head goes on with: its settings, its utterances, the keys of its YAML."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wavcube.data.prepare import check_same_data
from wavcube.training.settings import TrainingSettings

# what a run goes on with unchanged; how often it logs and the like may change
RUN_KEYS = ("updates", "warmup", "lr", "weights")


class RecipeHparams(dict):
    """What a YAML holds; of what it lacks it says that the YAML may be another recipe's.

    Examples
    --------
    >>> RecipeHparams(seed=1)["noise_folder"]
    Traceback (most recent call last):
    ...
    KeyError: "the YAML has no key 'noise_folder': is it of this recipe?"
    """

    def __missing__(self, key: str) -> Any:  # noqa: ANN401 - as a dict's
        """Refuse."""
        raise KeyError(f"the YAML has no key {key!r}: is it of this recipe?")


def check_same_run(
    folder: Path, settings: TrainingSettings, rows: Mapping[str, Sequence[Any]]
) -> None:
    """Note down a run's settings and utterances, and refuse to go on with others.

    An edited CSV would be split anew: what chose the checkpoint could come into the test.

    Parameters
    ----------
    folder : Path
        Of the run; the notes are in `manifests`.
    settings : TrainingSettings
        Of which ``RUN_KEYS`` count.
    rows : mapping of str to sequence
        By part; rows have an `ID`.

    Raises
    ------
    ValueError
        If the notes are there and tell otherwise.

    Examples
    --------
    >>> from wavcube.data.manifest import Utterance
    >>> rows = {"train": [Utterance("a", 1.0, "a.wav")]}
    >>> folder = getfixture("tmp_path")
    >>> check_same_run(folder, TrainingSettings(updates=9), rows)
    >>> check_same_run(folder, TrainingSettings(updates=8), rows)
    Traceback (most recent call last):
    ...
    ValueError: ... is of a run with other settings: {'updates': 9}; choose another output_folder
    """
    training = {key: getattr(settings, key) for key in RUN_KEYS if hasattr(settings, key)}
    check_same_data(folder / "manifests" / "training.json", training, "settings")
    found = {part: f"{len(own)}, {_digest([row.ID for row in own])}" for part, own in rows.items()}
    check_same_data(folder / "manifests" / "rows.json", found, "utterances")


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
