"""Which class a release means by a short name, and where it lies today."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from wavcube.lobes.configurable import Configurable, imported_class
from wavcube.release.old_names import OLD_NAMES

# a module is imported when a release first names a class of it; those of tasks are found by their
# folders
MODULES = {
    "wavcube.lobes.wavcube": "WavCube",
    "wavcube.lobes.acoustic_codec": "AcousticCodec",
    "wavcube.lobes.acoustic_encoder": "AcousticEncoder",
    "wavcube.lobes.ssl.encoder": "SSLEncoder",
    "wavcube.lobes.layers.layer_mix": "LayerMix",
    "wavcube.lobes.acoustic_skip": "AcousticSkip",
    "wavcube.lobes.latent_basis": "LatentBasis",
    "wavcube.lobes.bottleneck": "SemanticBottleneck VariationalBottleneck",
    "wavcube.lobes.decoder.decoder": "AcousticDecoder",
    "wavcube.lobes.decoder.convnext": "ConvNeXtBackbone",
    "wavcube.lobes.decoder.causal_transformer": "CausalTransformerBackbone",
    "wavcube.lobes.decoder.local_vocoder": "LocalVocoder",
    "wavcube.lobes.decoder.istft": "ISTFTHead",
    "wavcube.representations.codec": "CodecRepresentation",
    "wavcube.representations.latent": "LatentRepresentation PackagedLatent",
    "wavcube.representations.mel": "MelRepresentation",
    "wavcube.representations.ssl": "SSLRepresentation PackagedSSL",
    "wavcube.representations.waveform": "WaveformRepresentation",
    "wavcube.lobes.layers.mask_head": "MaskHead",
    "wavcube.lobes.layers.latent_map": "LatentHead",
    "wavcube.lobes.layers.mean_pool": "MeanPoolHead",
    "wavcube.lobes.layers.conformer": "MaskedConformer",
}
_HOMES = {name: module for module, names in MODULES.items() for name in names.split()}
SHORT_NAMES = {old: name for name, old in OLD_NAMES.items()}


def registered_class(name: object) -> type[Configurable]:
    """Return the class that a release names. What the release says chooses no module to import.

    Parameters
    ----------
    name : object
        Short name of a class of this package, or of a :class:`Configurable` of the user's own
        whose module was imported.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        If there is no such class.

    Examples
    --------
    >>> registered_class("LayerMix")
    <class 'wavcube.lobes.layers.layer_mix.LayerMix'>
    """
    found = None
    if isinstance(name, str):
        home = _HOMES.get(name)
        found = getattr(importlib.import_module(home), name) if home else _class_of_a_task(name)
    if found is None:
        raise ValueError(
            f"class {name!r} is not one that a release may name; one of your own is found once its "
            "module is imported"
        )
    return found


def _class_of_a_task(name: str) -> type[Configurable] | None:
    """Find a class that was imported, or that a task has: of the package, then of others."""
    folders = importlib.import_module("wavcube.tasks").folder_names()
    modules = ["wavcube.tasks.model", *(f"wavcube.tasks.{folder}.model" for folder in folders)]
    for module in modules:
        if imported_class(name) is not None:
            break
        importlib.import_module(module)
    if imported_class(name) is None:
        for entry in entry_points(group="wavcube_tasks"):
            entry.load()
    return imported_class(name)


def rename_classes(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Replace names of classes in a model's configuration, at any depth.

    Parameters
    ----------
    config : mapping
        Of a model; left as it is.
    names : mapping of str to str
        Name by name; others stay.

    Returns
    -------
    dict
        A copy.

    Examples
    --------
    >>> old = {"class": "wavcube.lobes.layer_mix.LayerMix", "num_states": 3}
    >>> rename_classes(old, SHORT_NAMES)
    {'class': 'LayerMix', 'num_states': 3}
    """
    found = {
        k: rename_classes(v, names) if isinstance(v, Mapping) else v for k, v in config.items()
    }
    name = config.get("class")
    return {**found, "class": names[name]} if isinstance(name, str) and name in names else found
