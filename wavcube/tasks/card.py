"""What a recipe can say of a task's model: the card of its release."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wavcube.experiment.card import (
    PACKAGED,
    UNKNOWN,
    is_synthetic,
    public_paths,
    speech_sources,
    user_entries,
)
from wavcube.metrics import Summary
from wavcube.release.card import ModelCard, Source
from wavcube.release.folder import read_card
from wavcube.release.source import packaged_model
from wavcube.representations import (
    MelRepresentation,
    PackagedLatent,
    PackagedSSL,
    Representation,
    WaveformRepresentation,
)
from wavcube.tasks.model import TaskModel

FREE = "Apache-2.0"


def describe_task(
    model: TaskModel,
    hparams: Mapping[str, Any],
    table: Mapping[str, Mapping[str, Summary]],
    entries: Mapping[str, Any],
) -> ModelCard:
    """Say what the model is, what it was made of, and what follows for its use.

    Parameters
    ----------
    model : TaskModel
        The model.
    hparams : mapping
        Of the recipe. Its `card`, if any, has the last word.
    table : mapping
        Scores for the card, by row and column.
    entries : mapping
        What the task says: `title`, `summary`, and whatever else it knows better.

    Returns
    -------
    ModelCard
        For :func:`wavcube.release.folder.write_release`.
    """
    data = speech_sources(hparams)
    upstream, licence = front_end_sources(model.representation)
    if hparams["pretrained"] is not None:
        made = read_card(hparams["pretrained"])
        own = made.weights_license if made else UNKNOWN
        upstream.append(
            Source("the model it was tuned from", own, Path(hparams["pretrained"]).name)
        )
        licence = None
        if made:
            upstream, data = [*upstream, *made.upstream], [*data, *made.data]
    free = licence is not None and is_synthetic(data)
    results = {
        row: {column: cell.mean for column, cell in cells.items() if cell.mean is not None}
        for row, cells in table.items()
    }
    said = {
        "weights_license": licence if free else "as far as all that it was made of allows",
        "commercial_use": "yes" if free else "unclear",
        "upstream": list(dict.fromkeys(upstream)),
        "data": list(dict.fromkeys(data)),
        "command": shlex.join(["python", *map(public_paths, sys.argv)]),
        "results": results,
        **entries,
    }
    return ModelCard(**{**said, **user_entries(hparams)})


def front_end_sources(representation: Representation) -> tuple[list[Source], str | None]:
    """Name the models behind a representation, and their licence where it is known.

    Parameters
    ----------
    representation : Representation
        Of a task's model.

    Returns
    -------
    sources : list of Source
        None for log-mel energies and for the waveform itself.
    licence : str or None
        Of weights that are made of no more than this.

    Examples
    --------
    >>> front_end_sources(MelRepresentation())
    ([], 'Apache-2.0')
    >>> from wavcube.testing import tiny_ssl_encoder
    >>> from wavcube.representations import SSLRepresentation
    >>> front_end_sources(SSLRepresentation(tiny_ssl_encoder()))[1] is None
    True
    """
    if isinstance(representation, MelRepresentation | WaveformRepresentation):
        return [], FREE
    if isinstance(representation, PackagedSSL):
        return [PACKAGED], FREE
    if isinstance(representation, PackagedLatent):
        made = read_card(packaged_model())
        if made is None:
            raise RuntimeError("the packaged latent has lost its card: install the package again")
        own = Source(made.title, made.weights_license, "wavcube/pretrained/wavcube_tiny")
        return [own, *made.upstream], made.weights_license
    kind = type(representation.model).__name__
    return [Source(f"front end ({kind})", UNKNOWN, f"model {representation.model_hash[:12]}")], None
