"""The speech of a run: a corpus, the user's own audio, or what the package synthesises itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wavcube.data.crops import CropDataset, Crops
from wavcube.data.manifest import Utterance, read_manifest
from wavcube.data.prepare import check_same_data, extra_speech
from wavcube.data.segments import Segment, Segments, is_segments, open_segments
from wavcube.data.segments.collection import JoinedSegments, listed_segments
from wavcube.data.segments.crops import SegmentCrops
from wavcube.data.segments.splitting import copy_held_back, hold_back, leave_out_known
from wavcube.data.synthetic import default_cache_folder, make_synthetic_corpus
from wavcube.training.distributed import print_main

Speech = Sequence[Any]  # of Utterance; of large manifests Segments, or JoinedSegments


def split_segments(source: Path, folder: Path, hparams: Mapping[str, Any]) -> dict[str, Speech]:
    """Train on a large manifest, and hold a little back for validation and test.

    Parameters
    ----------
    source : Path
        JSON lines or a folder of shards.
    folder : Path
        Of the run, for what is held out.
    hparams : Mapping
        Of the recipe, with `valid_utterances`, `test_utterances`, `shortest_test`, `longest_test`
        and `seed`.

    Returns
    -------
    dict of str to Speech
        "train", "valid" and "test".

    Raises
    ------
    FileNotFoundError, ValueError, PermissionError
        As :func:`~wavcube.data.segments.open_segments` does; a ValueError also if the run began
        with other segments or there are too few.
    """
    segments = open_segments(source, progress=True)
    check_same_data(folder / "segments.json", segments.metadata())
    lasting = {"shortest": hparams["shortest_test"], "longest": hparams["longest_test"]}
    counts = {role: hparams[f"{role}_utterances"] for role in ("test", "valid")}
    held = hold_back(segments, counts, seed=hparams["seed"], **lasting)
    copied = copy_held_back(segments, held, folder, {**lasting, "seed": hparams["seed"]})
    return {"train": segments.without(held.rows), **copied}


def add_speech(
    rows: Mapping[str, Speech],
    more: Sequence[Utterance],
    manifests: Sequence[Path],
    folder: Path,
) -> dict[str, Speech]:
    """Add to what a run trains on.

    Segments of large manifests by speakers of validation or test are left out, which is logged.

    Parameters
    ----------
    rows : Mapping of str to Speech
        "train", "valid" and "test".
    more : sequence of Utterance
        Audio files.
    manifests : sequence of Path
        JSON lines or folders of shards.
    folder : Path
        Of the run, where it is noted what they hold.

    Returns
    -------
    dict of str to Speech
        The same, with more in "train".

    Raises
    ------
    FileNotFoundError, ValueError, PermissionError
        As :func:`~wavcube.data.segments.open_segments` does; a ValueError also if the run began
        with other segments.
    """
    train = rows["train"]
    if isinstance(train, list):
        train = [*train, *more]
        parts: list[Any] = [listed_segments(_as_segments(train))] if manifests else []
    else:
        parts = [train, listed_segments(_as_segments(more))] if more else [train]
    if not manifests and len(parts) < 2:
        return {**rows, "train": train}
    apart = _as_segments([*rows["valid"], *rows["test"]])
    for number, path in enumerate(manifests, start=1):
        segments = open_segments(path, progress=True)
        check_same_data(folder / f"segments_{number}.json", segments.metadata())
        parts.append(leave_out_known(segments, apart, str(path)))
    return {**rows, "train": JoinedSegments(parts)}


def crops_of(
    rows: Speech,
    *,
    crop_seconds: float,
    crops_per_epoch: int,
    sample_rate: int,
    seed: int,
    max_bad_fraction: float,
) -> Crops:
    """Build the dataset of random crops that a run trains on.

    Parameters
    ----------
    rows : Speech
        To draw from.
    crop_seconds, crops_per_epoch, sample_rate, seed
        See :class:`~wavcube.data.crops.CropDataset`.
    max_bad_fraction : float
        How many segments of large manifests, which nobody has checked, may be unreadable.

    Raises
    ------
    ValueError
        If there is no speech, or a number is out of range.
    """
    sizes: dict[str, Any] = {
        "crop_seconds": crop_seconds,
        "crops_per_epoch": crops_per_epoch,
        "sample_rate": sample_rate,
        "seed": seed,
    }
    if isinstance(rows, (Segments, JoinedSegments)):
        return SegmentCrops(rows, max_bad_fraction=max_bad_fraction, **sizes)
    return CropDataset([row.as_dict() for row in rows], **sizes)


def _as_segments(rows: Sequence[Utterance]) -> list[Segment]:
    return [
        Segment(row.ID, row.duration, row.wav, speaker=row.spk_id, text=row.wrd) for row in rows
    ]


# what chooses the speech: a run goes on with the same only
DATA_KEYS = ("data_folder", "training_folders", "add_synthetic", "synthetic_minutes")
# and what divides it, in the recipes that let the user: who was trained on is not tested on
SPLIT_KEYS = ("train_splits", "valid_splits", "test_splits", "held_out_speakers", "test_speakers")

Prepare = Callable[[Path, Path, Mapping[str, Any]], Mapping[str, Path]]


def prepare_rows(
    hparams: Mapping[str, Any], prepare: Prepare, large: bool = False
) -> dict[str, Speech]:
    """Make the manifests of train, valid and test in the run's folder, and read them.

    Parameters
    ----------
    hparams : Mapping
        Of the recipe, with `output_folder`, `max_bad_fraction`, `data_folder` (None for the
        synthetic corpus), `training_folders` and `add_synthetic` (more speech, for training alone),
        `synthetic_folder` and `synthetic_minutes`.
    prepare : Callable
        The recipe's own, called with the source (a folder or a CSV file), the folder for the
        manifests and `hparams`; returns the manifest of "train", "valid" and "test". Paths in them
        that start with `$data_root` are relative to the source, or to the folder it is in.
    large : bool
        Whether the recipe can train from manifests of any size (JSON lines, folders of shards), as
        `data_folder` and among `training_folders`; see :mod:`wavcube.experiment.speech`.

    Returns
    -------
    dict of str to Speech
        By manifest: lists of Utterance; "train" is another sequence where a manifest is large.

    Raises
    ------
    FileNotFoundError
        If a folder is missing.
    ValueError
        If the run began with other data, or as `prepare` and
        :func:`~wavcube.data.prepare.extra_speech` do.
    """
    own, out_folder = hparams["data_folder"], Path(hparams["output_folder"]) / "manifests"
    given = {key: hparams[key] for key in DATA_KEYS}
    given |= {key: hparams[key] for key in SPLIT_KEYS if key in hparams}
    check_same_data(out_folder / "data.json", given)
    if own is None:
        print_main("no --data_folder: training on speech that the package makes itself")
    source = synthetic_corpus(hparams) if own is None else Path(own)
    further = list(hparams["training_folders"])
    if hparams["add_synthetic"] and own is not None:
        further.append(synthetic_corpus(hparams) / "train-clean-100")
    manifests = [Path(path) for path in further if is_segments(path)]
    if not large and (is_segments(source) or manifests):
        raise ValueError(
            f"{source if is_segments(source) else manifests[0]} is a manifest in JSON lines or a "
            "folder of shards, from which this recipe does not train: give a folder or a CSV"
        )
    split = split_segments if is_segments(source) else partial(_prepared, prepare)
    rows = split(source, out_folder, hparams)
    more = extra_speech(
        [path for path in further if not is_segments(path)],
        [*rows["valid"], *rows["test"]],
        max_bad_fraction=hparams["max_bad_fraction"],
    )
    return add_speech(rows, more, manifests, out_folder)


def _prepared(
    prepare: Prepare, source: Path, out_folder: Path, hparams: Mapping[str, Any]
) -> dict[str, Speech]:
    manifests = prepare(source, out_folder, hparams)
    root = source if source.is_dir() else source.parent
    return {name: read_manifest(path, root) for name, path in manifests.items()}


def synthetic_corpus(hparams: Mapping[str, Any]) -> Path:
    """Make the speech of the package's own, or find it in the cache.

    Parameters
    ----------
    hparams : Mapping
        With `synthetic_folder`, None for the user's cache, and `synthetic_minutes` of training.

    Returns
    -------
    Path
        See :func:`~wavcube.data.synthetic.make_synthetic_corpus`.
    """
    folder = hparams["synthetic_folder"] or default_cache_folder()
    return make_synthetic_corpus(folder, train_minutes=hparams["synthetic_minutes"])
