"""A folder of noises (or of room impulse responses) shared out among training, validation, test."""

from __future__ import annotations

from pathlib import Path

from wavcube.data.manifest import Utterance
from wavcube.data.scan import scan_audio_folder
from wavcube.data.splits import hold_out_utterances

__all__ = ["share_out_noises"]

ROLES = ("train", "valid", "test")
_HELD_BACK = 0.1


def share_out_noises(
    folder: str | Path, seed: int = 1234, max_bad_fraction: float = 0.01
) -> dict[str, list[Utterance]]:
    """Give each role files of its own, so that no noise of a test is known from training.

    Where the folder has subfolders named train, valid and test, these are the roles' own; else a
    tenth of the files, drawn at random and at least one, goes to validation, and as many to test.

    Parameters
    ----------
    folder : str | Path
        Searched with its subfolders.
    seed : int
        Of the draw.
    max_bad_fraction : float
        How many files may be bad before the run stops.

    Returns
    -------
    dict[str, list[Utterance]]
        Rows of "train", "valid" and "test", with durations.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or not all three of those subfolders.
    ValueError
        When it holds fewer than three files, no audio, or too many bad files.

    Examples
    --------
    >>> import torch
    >>> from wavcube.data.audio import write_audio
    >>> folder = getfixture("tmp_path")
    >>> for name in "abc":
    ...     write_audio(folder / f"{name}.wav", 0.1 * torch.randn(800), 8000)
    >>> {role: len(rows) for role, rows in share_out_noises(folder).items()}
    {'train': 1, 'valid': 1, 'test': 1}
    """
    folder = Path(folder)
    own = {role: (folder / role).is_dir() for role in ROLES}
    if any(own.values()):
        missing = [role for role in ROLES if not own[role]]
        if missing:
            raise FileNotFoundError(
                f"{folder} has folders for {', '.join(r for r in ROLES if own[r])}, but none for "
                f"{', '.join(missing)}"
            )
        return {
            role: scan_audio_folder(folder / role, max_bad_fraction=max_bad_fraction).utterances
            for role in ROLES
        }
    rows = scan_audio_folder(folder, max_bad_fraction=max_bad_fraction).utterances
    if len(rows) < len(ROLES):
        raise ValueError(
            f"{folder} has {len(rows)} files: training, validation and test need one each at the "
            "least, since a test on known noise says little"
        )
    rest, test = hold_out_utterances(rows, _HELD_BACK, seed)
    train, valid = hold_out_utterances(rest, _HELD_BACK, seed + 1)
    return {"train": train, "valid": valid, "test": test}
