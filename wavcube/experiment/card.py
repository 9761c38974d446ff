"""What a recipe can say of a model that it has trained: the release's card."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from wavcube.metrics import Summary
from wavcube.release.card import ModelCard, Source
from wavcube.release.folder import read_card
from wavcube.release.ssl_folder import packaged_encoder

SUMMARIES = {
    "WavCube": "A small model of speech's latent (arXiv 2605.06407), made by the WavCube recipe.",
    "AcousticCodec": "A small acoustic codec, made by the WavCube recipe to compare WavCube with: "
    "its latent, decoder and losses without any semantic part.",
}
# an absolute path, alone or in a list or after the name of an option
_ABSOLUTE = re.compile(r"(?<![^=\[,:\s'\"])/(?!/)[^\],'\"]+")
UNKNOWN = "not known to this recipe: see the README.md that came with it"
# by its licence it is known in the cards of earlier releases too
SYNTHETIC = Source("synthetic speech", "generated with espeak-ng", "wavcube.data.synthetic")
PACKAGED = Source(
    "the SSL encoder of the wavcube package",
    "Apache-2.0; trained on LibriSpeech and VCTK (CC BY 4.0, to be credited), LJSpeech (public "
    "domain) and synthetic speech",
    "wavcube/pretrained/encoder",
)


def describe_run(
    model: nn.Module,
    hparams: Mapping[str, Any],
    table: Mapping[str, Mapping[str, Summary]],
) -> ModelCard:
    """Say what the model is, what it was made of, and what follows for its use.

    Parameters
    ----------
    model : nn.Module
        The lobe.
    hparams : mapping
        Of the recipe. Its `card`, if any, has the last word: corpora's names and licences, which a
        recipe cannot know.
    table : mapping
        Scores for the card, by row and metric.

    Returns
    -------
    ModelCard
        For :func:`wavcube.release.folder.write_release`.

    Raises
    ------
    ValueError
        If `card` has an entry that no card has.
    """
    title, encoder, release = type(model).__name__, hparams["ssl_source"], hparams["pretrained"]
    data, upstream = speech_sources(hparams), []
    known = encoder is None or Path(encoder) == packaged_encoder()
    if encoder is not None:
        other = Source("SSL encoder", UNKNOWN, Path(encoder).name)
        upstream.append(PACKAGED if known else other)
    if release is not None:
        made = read_card(release)
        licence = made.weights_license if made else UNKNOWN
        upstream.append(Source(title, licence, Path(release).name))
        if made:  # what it was made of, this model is made of too
            upstream, data = [*upstream, *made.upstream], [*data, *made.data]
    free = release is None and known and is_synthetic(data)
    columns = {row: {k: s.mean for k, s in cells.items()} for row, cells in table.items()}
    said = {
        "title": title,
        "summary": SUMMARIES[title],
        "weights_license": "Apache-2.0" if free else "as far as all that it was made of allows",
        "commercial_use": "yes" if free else "unclear",
        "upstream": list(dict.fromkeys(upstream)),
        "data": list(dict.fromkeys(data)),
        "command": shlex.join(["python", *map(public_paths, sys.argv)]),
        "results": {r: {k: v for k, v in c.items() if v is not None} for r, c in columns.items()},
    }
    return ModelCard(**{**said, **user_entries(hparams)})


def user_entries(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Give the entries of a release's card that the user knows better than a recipe.

    Parameters
    ----------
    hparams : mapping
        Of the recipe, with `card`, None or a mapping.

    Raises
    ------
    ValueError
        If there is no such entry.

    Examples
    --------
    >>> user_entries({"card": {"title": "Mine"}})
    {'title': 'Mine'}
    >>> user_entries({"card": None})
    {}
    """
    given, known = hparams["card"] or {}, [field.name for field in fields(ModelCard)]
    if not isinstance(given, Mapping) or given.keys() - set(known):
        raise ValueError(f"card: {given!r} holds more than entries of a card, which are {known}")
    return dict(given)


def speech_sources(hparams: Mapping[str, Any]) -> list[Source]:
    """Name every folder of speech that a run trains on.

    Parameters
    ----------
    hparams : mapping
        With `data_folder`, `training_folders` and `add_synthetic`; where speech is mixed with
        noise, `noise_folder` and `room_folder` too.

    Returns
    -------
    list of Source
        The user's own first.

    Examples
    --------
    >>> given = {"data_folder": "a/mine", "training_folders": ["b"], "add_synthetic": True}
    >>> [source.name for source in speech_sources(given)]
    ['mine', 'b', 'synthetic speech']
    """
    own = hparams["data_folder"]
    given = [] if own is None else [(own, "--data_folder")]
    given += [(folder, "--training_folders") for folder in hparams["training_folders"]]
    noises = ("noise_folder", "room_folder")
    given += [(hparams[key], f"--{key}") for key in noises if hparams.get(key) is not None]
    sources = [
        Source(Path(folder).name, "of the data's owner", f"given as {option}")
        for folder, option in given
    ]
    return [*sources, SYNTHETIC] if own is None or hparams["add_synthetic"] else sources


def public_paths(argument: str) -> str:
    """Shorten the absolute paths of an argument: a card is read by others.

    Parameters
    ----------
    argument : str
        Of a command line.

    Returns
    -------
    str
        With paths relative to the working directory where they are below it, and otherwise the
        last two parts alone.

    Examples
    --------
    >>> public_paths("--data_folder=/home/me/corpora/LibriSpeech")
    '--data_folder=corpora/LibriSpeech'
    >>> public_paths("--training_folders=[/data/me/a, more/b]")
    '--training_folders=[me/a, more/b]'
    >>> public_paths(str(Path.cwd() / "hparams" / "wavcube.yaml"))
    'hparams/wavcube.yaml'
    """
    return _ABSOLUTE.sub(lambda found: _short(Path(found[0])), argument)


def _short(path: Path) -> str:
    below = path.is_relative_to(Path.cwd())
    return str(path.relative_to(Path.cwd()) if below else Path(*path.parts[-2:]))


def is_synthetic(data: Sequence[Source]) -> bool:
    """Tell whether all speech is of the package's own making.

    Parameters
    ----------
    data : sequence of Source
        What a model was trained on.

    Examples
    --------
    >>> is_synthetic([SYNTHETIC]), is_synthetic([SYNTHETIC, Source("mine", "unknown", "here")])
    (True, False)
    """
    return bool(data) and all(source.license == SYNTHETIC.license for source in data)
