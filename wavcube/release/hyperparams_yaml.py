"""Write a release's hyperparams.yaml: its configuration in SpeechBrain's own convention."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from wavcube.release.registry import registered_class

WEIGHTS_HOOK = "wavcube.release.weights.load_release_weights"
PRETRAINER = "speechbrain.utils.parameter_transfer.Pretrainer"
YAML_FILE = "hyperparams.yaml"
WEIGHTS_FILE = "model.safetensors"

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEMPLATE = f"""\
# A WavCube release, written from config.json. Load it with
#     LOADER.from_hparams(source=FOLDER)
# which reads config.json alone. SpeechBrain's own loaders take this file, with the override
# pretrained_path: FOLDER.

pretrained_path: .

NAME:MODEL

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
    wavcube: !new:wavcube.lobes.layers.layer_mix.LayerMix
    """
    text = _TEMPLATE.replace("LOADER", loader).replace("NAME", name)
    text = text.replace("MODEL", _render(config, 1))
    return f"{text}\nfiles:{_render(list(files), 1)}\n" if files else text


def _render(value: object, depth: int) -> str:
    """Write what follows `key:`, leading space or line break included."""
    if isinstance(value, Mapping):
        tag = f" !new:{_dotted(value['class'])}" if "class" in value else ""
        items = {key: item for key, item in value.items() if key != "class"}
        if not items:
            return tag or " {}"
        indent = "    " * depth
        lines = [f"{indent}{_key(key)}:{_render(item, depth + 1)}" for key, item in items.items()]
        return "\n".join([tag, *lines])
    if isinstance(value, list | tuple):
        return " [" + ", ".join(_scalar(item) for item in value) + "]"
    return " " + _scalar(value)


def _dotted(name: str) -> str:
    kind = registered_class(name)
    return f"{kind.__module__}.{kind.__qualname__}"


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else json.dumps(key)


def _scalar(value: object) -> str:
    """Write a scalar or flow list as JSON, which YAML reads, with the dot it wants in floats."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "n" in text else text.replace("e", ".0e")
    return json.dumps(value)
