"""The speech of a run: a corpus, the user's own audio, or what the package synthesises itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wavcube.data.extra_speech import extra_speech
from wavcube.data.manifest import read_manifest
from wavcube.data.prepare import check_same_data
from wavcube.data.segments import is_segments
from wavcube.data.synthetic import default_cache_folder, make_synthetic_corpus
from wavcube.experiment.segments import Speech, add_speech, split_segments
from wavcube.experiment.usage import print_main

__all__ = ["prepare_rows", "synthetic_corpus"]

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
        `data_folder` and among `training_folders`; see :mod:`wavcube.experiment.segments`.

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
        :func:`~wavcube.data.extra_speech.extra_speech` do.
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
