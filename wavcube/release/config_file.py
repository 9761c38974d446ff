"""A release's config.json: the model as plain data, and what it was made of."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import yaml
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable, describe, imported_class
from wavcube.release.card import ModelCard, Source, library_versions
from wavcube.release.old_names import OLD_NAMES, SHORT_NAMES
from wavcube.utils.files import read_json, recovery_hint


def check_arguments(lobe: type[nn.Module], named: Mapping[str, Any]) -> None:
    """Compare arguments with the signature of a lobe, whose annotations are plain types.

    Parameters
    ----------
    lobe : type
        A module's class.
    named : mapping
        Arguments by name.

    Raises
    ------
    ValueError
        Naming the argument that is unknown, missing or of another type.

    Examples
    --------
    >>> from wavcube.lobes.ssl.encoder import LayerMix
    >>> check_arguments(LayerMix, {"num_states": 3})
    >>> check_arguments(LayerMix, {"num_states": "three"})
    Traceback (most recent call last):
    ...
    ValueError: LayerMix: argument num_states must be int, got 'three'
    """
    try:
        given = inspect.signature(lobe).bind(**named).arguments
    except TypeError as error:
        raise ValueError(f"{lobe.__name__}: {error}") from error
    hints = get_type_hints(lobe.__init__)
    for name, value in given.items():
        if not _fits(value, hints[name]):
            found = type(value).__name__ if isinstance(value, nn.Module) else repr(value)
            raise ValueError(
                f"{lobe.__name__}: argument {name} must be {_spell(hints[name])}, got {found}"
            )


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - an annotation
    """Whether a value is of an annotated type, as far as the lobes' signatures need it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in inner)
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(_fits(item, inner[0]) for item in value)
    if origin is not None:
        return isinstance(value, origin)
    if isinstance(value, bool) and hint in (int, float):
        return False
    return isinstance(value, int | float if hint is float else hint)


def _spell(hint: object) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_spell, get_args(hint)))
    if hint is NoneType:
        return "null"
    return hint.__name__ if isinstance(hint, type) else str(hint).rpartition(".")[2]


SEMANTIC_DECODER = "bottleneck.semantic_decoder."


def release_config(model: Configurable) -> dict[str, Any]:
    """Describe a model as its release would: no semantic decoder, plain data.

    Parameters
    ----------
    model : Configurable
        Of the latent, or of a task.

    Returns
    -------
    dict
        For :func:`~wavcube.release.config_file.build`; equal to what config.json holds.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> release_config(tiny_wavcube())["class"]
    'WavCube'
    """
    config = describe(model)
    set_semantic_decoder(config, False)
    return config


def set_semantic_decoder(config: dict[str, Any], wanted: bool) -> None:
    """Say in a configuration whether the bottleneck, if there is one, has its semantic decoder."""
    if isinstance(config.get("bottleneck"), dict):  # an acoustic codec has none
        config["bottleneck"]["with_decoder"] = wanted


def release_hash(model: Configurable, state: Mapping[str, Tensor] | None = None) -> str:
    """Hash a model as its release does; see :func:`wavcube.release.config_file.model_hash`.

    Parameters
    ----------
    model : Configurable
        Whose configuration counts.
    state : mapping of str to Tensor, optional
        Weights to hash in place of the model's own, where those were rounded since.
    """
    return model_hash(release_config(model), inference_state(model) if state is None else state)


def latent_hash(model: LatentCodec, state: Mapping[str, Tensor] | None = None) -> str:
    """Hash what makes a model's latents: two models of one hash have the same latents.

    Parameters
    ----------
    model : LatentCodec
        Its decoder does not count, so that latents outlive a decoder that was trained further.
    state : mapping of str to Tensor, optional
        See :func:`release_hash`.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> model = tiny_wavcube()
    >>> whole, latent = release_hash(model), latent_hash(model)
    >>> _ = next(model.decoder.parameters()).data.zero_()
    >>> release_hash(model) == whole, latent_hash(model) == latent
    (False, True)
    """
    weights = inference_state(model) if state is None else state
    return model_hash(release_config(model), weights, without="decoder")


def inference_state(model: Configurable) -> dict[str, Tensor]:
    """Give the weights that a release holds: all but the semantic decoder's."""
    state = model.state_dict()
    return {k: v for k, v in state.items() if not k.startswith(SEMANTIC_DECODER)}


# a module is imported when a release first names a class of it; those of tasks are found by their
# folders
MODULES = {
    "wavcube.lobes.wavcube": "WavCube AcousticSkip",
    "wavcube.lobes.acoustic_codec": "AcousticCodec AcousticEncoder",
    "wavcube.lobes.ssl.encoder": "SSLEncoder LayerMix",
    "wavcube.lobes.bottleneck": "LatentBasis SemanticBottleneck VariationalBottleneck",
    "wavcube.lobes.decoder.decoder": "AcousticDecoder ISTFTHead",
    "wavcube.lobes.decoder.convnext": "ConvNeXtBackbone",
    "wavcube.lobes.decoder.causal_transformer": "CausalTransformerBackbone",
    "wavcube.lobes.decoder.local_vocoder": "LocalVocoder",
    "wavcube.representations.codec": "CodecRepresentation",
    "wavcube.representations.latent": "LatentRepresentation PackagedLatent",
    "wavcube.representations.mel": "MelRepresentation",
    "wavcube.representations.ssl": "SSLRepresentation PackagedSSL",
    "wavcube.representations.waveform": "WaveformRepresentation",
    "wavcube.lobes.layers.spectrogram": "MaskHead",
    "wavcube.lobes.layers.latent_map": "LatentHead",
    "wavcube.lobes.layers.mean_pool": "MeanPoolHead",
    "wavcube.lobes.layers.conformer": "MaskedConformer",
}
_HOMES = {name: module for module, names in MODULES.items() for name in names.split()}


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
    <class 'wavcube.lobes.ssl.encoder.LayerMix'>
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


if TYPE_CHECKING:
    from wavcube.lobes.latent_codec import LatentCodec

CONFIG_FILE = "config.json"
FORMAT, FORMAT_VERSION = "wavcube-release", 2
READABLE_VERSIONS = (1, 2)  # the first named classes by their modules


def write_config(
    folder: Path,
    model: Mapping[str, Any],
    card: ModelCard,
    files: Sequence[str] = (),
    task: str = "",
) -> None:
    """Write a release's config.json.

    Parameters
    ----------
    folder : Path
        The release.
    model : mapping
        The lobe's configuration.
    card : ModelCard
        Of the release; a model that is tuned from it names the same sources.
    files : sequence of str
        Names of what else it needs.
    task : str
        Name of the model's task, if it is of one.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model,
        "versions": library_versions(),
        "card": asdict(card),
    }
    if files:
        content["files"] = list(files)
    if task:
        content["task"] = task
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read a release's config.json.

    Parameters
    ----------
    folder : str or Path
        The release.

    Returns
    -------
    dict
        The model's configuration, for :func:`~wavcube.release.config_file.build`.

    Raises
    ------
    FileNotFoundError
        If the folder is missing or no release.
    ValueError
        If the file is broken or of another format.
    """
    return rename_classes(_read(folder)["model"], SHORT_NAMES)


def read_card(folder: str | Path) -> ModelCard | None:
    """Read what a release's makers said of it.

    Parameters
    ----------
    folder : str or Path
        The release.

    Returns
    -------
    ModelCard or None
        None if the release is older than this part of its config.json.

    Raises
    ------
    FileNotFoundError, ValueError
        See :func:`read_config`.
    """
    said = _read(folder).get("card")
    if said is None:
        return None
    try:
        sources = {key: [Source(**item) for item in said[key]] for key in ("upstream", "data")}
        return ModelCard(**{**said, **sources})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{Path(folder) / CONFIG_FILE} holds a broken card: {error}") from error


def extra_file_names(folder: str | Path) -> list[str]:
    """List what a release needs beside its configuration and its weights.

    Parameters
    ----------
    folder : str or Path
        The release.

    Returns
    -------
    list of str
        Names of files in it.

    Raises
    ------
    FileNotFoundError, ValueError
        See :func:`read_config`.
    """
    names = _read(folder).get("files", [])
    if not isinstance(names, list) or any(Path(str(name)).name != name for name in names):
        raise ValueError(f"{Path(folder) / CONFIG_FILE} names files that are not its own: {names}")
    return names


def read_task(folder: str | Path) -> str:
    """Read which task a release's model is of.

    Parameters
    ----------
    folder : str or Path
        The release.

    Returns
    -------
    str
        Its name; "" for a latent, and where an earlier version did not tell.

    Raises
    ------
    FileNotFoundError, ValueError
        See :func:`read_config`.
    """
    return str(_read(folder).get("task", ""))


def check_is_release(folder: Path) -> None:
    """Refuse to replace a folder that no release was written to, of whatever version.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    FileExistsError
        If its config.json is missing or another program's; many have a file of that name.
    """
    try:
        content = read_json(folder / CONFIG_FILE)
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileExistsError(
            f"{folder} is not replaced: it is not a WavCube release, having no {CONFIG_FILE} of "
            f"the format {FORMAT}"
        )


def _read(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a WavCube release: it has no {CONFIG_FILE}{recovery_hint(folder)}"
        )
    content = read_json(path)
    content = content if isinstance(content, dict) else {}
    found = content.get("format"), content.get("format_version")
    known = found[0] == FORMAT and found[1] in READABLE_VERSIONS
    if not known or not isinstance(content.get("model"), dict):
        raise ValueError(f"{path} is not of the format {FORMAT} {FORMAT_VERSION}: {list(found)}")
    return content


def build(config: Mapping[str, Any], where: str = "the configuration") -> Configurable:
    """Build a model with random weights from plain data.

    Parameters
    ----------
    config : mapping
        What :func:`wavcube.lobes.configurable.describe` gave: `class`, a short name, and the
        constructor's arguments, nested modules in the same way.
    where : str
        Its origin, for the message.

    Returns
    -------
    Configurable
        The model.

    Raises
    ------
    ValueError
        If a class is unknown or does not take the arguments, naming them.

    Examples
    --------
    >>> build({"class": "LayerMix", "num_states": 3})
    LayerMix()
    >>> build({"class": "os.system", "command": "ls"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: the configuration: class 'os.system' is not one that a release may name...
    """
    arguments = {
        key: build(value, where) if isinstance(value, Mapping) and "class" in value else value
        for key, value in config.items()
        if key != "class"
    }
    try:
        module = registered_class(config.get("class"))
        check_arguments(module, arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    try:
        return module(**arguments)
    except Exception as error:  # a constructor may fail on values of the right types in any way
        raise ValueError(f"{where}: {module.__name__} cannot be built: {error}") from error


WEIGHTS_HOOK = "wavcube.release.weights.load_release_weights"
PRETRAINER = "speechbrain.utils.parameter_transfer.Pretrainer"
YAML_FILE = "hyperparams.yaml"
WEIGHTS_FILE = "model.safetensors"

_TEMPLATE = f"""\
# A WavCube release, written from config.json. Load it with
#     LOADER.from_hparams(source=FOLDER)
# which reads config.json alone. SpeechBrain's own loaders take this file, with the override
# pretrained_path: FOLDER.

pretrained_path: .

MODEL
modules:
    NAME: !ref <NAME>

pretrainer: !new:{PRETRAINER}
    loadables:
        NAME: !ref <NAME>
    paths:
        NAME: !ref <pretrained_path>/{WEIGHTS_FILE}
    custom_hooks:
        NAME: !name:{WEIGHTS_HOOK}
"""


def hyperparams_yaml(
    config: Mapping[str, Any],
    name: str = "wavcube",
    loader: str = "WavCube",
    files: Sequence[str] = (),
) -> str:
    """Turn a lobe's configuration into a self-contained HyperPyYAML text.

    Parameters
    ----------
    config : mapping
        Of a model; a mapping with the key `class` becomes `!new:` of that class's dotted name, as
        SpeechBrain's loaders need it.
    name : str
        What the lobe is called among the modules.
    loader : str
        The class that loads it, for the reader.
    files : sequence of str
        Names of what else that class needs of the release.

    Returns
    -------
    str
        The text.

    Examples
    --------
    >>> text = hyperparams_yaml({"class": "LayerMix", "num_states": 2})
    >>> print(text.splitlines()[7])
    wavcube: !new:wavcube.lobes.ssl.encoder.LayerMix
    """

    def dump(key: str, value: object) -> str:
        return yaml.dump({key: value}, Dumper=_Dumper, indent=4, sort_keys=False, width=100)

    text = _TEMPLATE.replace("LOADER", loader).replace("NAME", name)
    text = text.replace("MODEL", dump(name, config))
    return f"{text}\n{dump('files', list(files))}" if files else text


class _Dumper(yaml.SafeDumper):
    """Writes a mapping with the key `class` as `!new:` of that class, and a list in one line."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_model(self, config: Mapping[str, Any]) -> yaml.Node:
        arguments = {key: value for key, value in config.items() if key != "class"}
        tag = "tag:yaml.org,2002:map"
        if "class" in config:
            kind = registered_class(config["class"])
            tag = f"!new:{kind.__module__}.{kind.__qualname__}"
        return self.represent_mapping(tag, arguments, flow_style=not arguments)

    def represent_items(self, items: Sequence[Any]) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(dict, _Dumper.represent_model)
_Dumper.add_representer(list, _Dumper.represent_items)
_Dumper.add_representer(tuple, _Dumper.represent_items)


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


def model_hash(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], without: str | None = None
) -> str:
    """Name a model by what it computes: its configuration and its weights.

    Parameters
    ----------
    config : mapping
        Of the model, as its release has it. What is None in it does not count, at any depth: it
        was not given, and a part that models may have one day does not rename those without it.
        Classes count by the names that they had in releases of format 1.
    tensors : mapping of str to Tensor
        Its weights, on any device; floating point ones count as float32, which a model runs in.
    without : str, optional
        A part that does not count: its weights are not read.

    Returns
    -------
    str
        SHA-256 in hexadecimal. A model rounded to float16 is another one: its latents differ.

    Examples
    --------
    >>> import torch
    >>> model_hash({}, {"a": torch.zeros(1)}) == model_hash({}, {"a": torch.zeros(1).half()})
    True
    >>> model_hash({}, {"a": torch.zeros(1)}) == model_hash({}, {"a": torch.ones(1)})
    False
    >>> model_hash({"part": None}, {}) == model_hash({}, {})
    True
    """
    given = _given(rename_classes({k: v for k, v in config.items() if k != without}, OLD_NAMES))
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for name in sorted(tensors):
        if name.partition(".")[0] == without:
            continue
        tensor = tensors[name].detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.float()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _given(config: object) -> object:
    """Leave out of plain data the entries that are None."""
    if isinstance(config, Mapping):
        return {key: _given(value) for key, value in config.items() if value is not None}
    return [_given(value) for value in config] if isinstance(config, list | tuple) else config
