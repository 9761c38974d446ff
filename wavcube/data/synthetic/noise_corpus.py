"""Noises and rooms that the package makes itself, as folders of files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from wavcube.data.synthetic import noise
from wavcube.data.synthetic.espeak import Espeak
from wavcube.data.synthetic.once import make_once
from wavcube.data.synthetic.render import render
from wavcube.data.synthetic.text import draw_sentence
from wavcube.data.synthetic.voices import make_voices

__all__ = ["NoiseFolders", "make_synthetic_noises"]

_FOLDER = "noise"
_ROLES = {"train": "train", "valid": "dev", "test": "test"}
_BABBLE_VOICES, _SENTENCES = 6, 2
_TALKERS = (3, 9)
_PEAK = 0.7
# Part of the folder's name: raise it when anything that is written changes.
_VERSION = 1


class NoiseFolders(NamedTuple):
    """Folders of one role.

    Attributes
    ----------
    noises : Path
        Noises.
    rooms : Path
        Room impulse responses.
    """

    noises: Path
    rooms: Path


@dataclass(frozen=True)
class _Plan:
    """Everything that the bytes depend on."""

    seconds: float
    files: tuple[int, int, int]
    rooms: int
    seed: int
    sample_rate: int
    version: int = _VERSION


def make_synthetic_noises(
    folder: str | Path,
    *,
    seconds: float = 12.0,
    train_files: int = 8,
    valid_files: int = 2,
    test_files: int = 2,
    rooms: int = 8,
    seed: int = 1234,
    sample_rate: int = 16000,
    progress: bool = True,
) -> dict[str, NoiseFolders]:
    """Make noises and rooms, or return those that an earlier call has finished.

    There are coloured noise, gusts, hum, motors, clicks, and babble of synthetic voices. No file,
    and no voice of the babble, serves two roles. The same arguments give the same files.

    Parameters
    ----------
    folder : str | Path
        Where made things are kept, for example `default_cache_folder()`.
    seconds : float
        Length of a noise.
    train_files, valid_files, test_files : int
        Files of each kind of noise.
    rooms : int
        Room impulse responses of each role.
    seed : int
        Draws everything.
    sample_rate : int
        Of the files, in Hz.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, NoiseFolders]
        Of "train", "valid" and "test".

    Raises
    ------
    ValueError
        When a size is out of range.
    ImportError
        When `espeakng-loader` is missing.
    PermissionError
        When `folder` cannot be written.
    """
    files = (train_files, valid_files, test_files)
    plan = _Plan(float(seconds), files, rooms, seed, sample_rate)
    if not 0.1 <= plan.seconds <= 600 or min(*files, rooms) < 1 or sample_rate < 8000:
        raise ValueError(
            f"noises last 0.1 to 600 s, not {seconds}; there is at least 1 file of each kind and 1 "
            f"room, not {files} and {rooms}; the rate is at least 8000 Hz, not {sample_rate}"
        )
    made = make_once(
        folder,
        "synthetic-noise",
        _FOLDER,
        asdict(plan),
        lambda target: _write(target, plan, progress),
    )
    return {role: NoiseFolders(made / role / "noises", made / role / "rooms") for role in _ROLES}


def _write(target: Path, plan: _Plan, progress: bool) -> None:
    total = sum(plan.files) * (len(noise.NOISES) + 1) + len(_ROLES) * plan.rooms
    with tqdm(total=total, unit="file", desc="making noises", disable=not progress) as bar:
        for role, count in zip(_ROLES, plan.files, strict=True):
            for path, samples in _files(target / role, role, count, plan):
                path.parent.mkdir(parents=True, exist_ok=True)
                rounded = np.round(samples * (_PEAK * 32767 / np.abs(samples).max()))
                soundfile.write(path, rounded.astype(np.int16), plan.sample_rate, subtype="PCM_16")
                bar.update()


def _files(folder: Path, role: str, count: int, plan: _Plan) -> Iterator[tuple[Path, np.ndarray]]:
    size = round(plan.seconds * plan.sample_rate)
    place = list(_ROLES).index(role)
    speech = _speak(role, plan)
    for index in range(count):
        kinds = enumerate(noise.NOISES.items(), start=1)
        for number, (name, make) in kinds:
            rng = np.random.default_rng((plan.seed, place, number, index))
            yield folder / "noises" / f"{name}_{index}.flac", make(rng, size, plan.sample_rate)
        rng = np.random.default_rng((plan.seed, place, 0, index))
        talkers = int(rng.integers(*_TALKERS))
        samples = noise.babble(rng, size, speech, talkers)
        yield folder / "noises" / f"babble_{index}.flac", samples
    for index in range(plan.rooms):
        rng = np.random.default_rng((plan.seed, place, len(noise.NOISES) + 1, index))
        response = noise.room_response(rng, plan.sample_rate)
        yield folder / "rooms" / f"room_{index}.flac", response


def _speak(role: str, plan: _Plan) -> list[np.ndarray]:
    """Let some voices of a role talk, for the babble."""
    rng = random.Random(f"babble {role} {plan.seed}")
    # another seed: the pitches and rates are not those of the corpora's speakers
    voices = make_voices(_ROLES[role], _BABBLE_VOICES, plan.seed + 1)
    with Espeak() as espeak:
        return [
            render(espeak, draw_sentence(rng), voice, rng, plan.sample_rate)
            for voice in voices
            for _ in range(_SENTENCES)
        ]
