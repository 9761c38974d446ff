"""The research code's YAML and weights read as our lobes' configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from wavcube.official.names import FEATURES

# of the vocoder that the research code builds when its YAML does not say
VOCODER_HEADS, VOCODER_WINDOW = 16, (40, 10)
# facts of a transformers installation, not of the model; the first is a path on its machine
_NO_ARGUMENTS = ("_name_or_path", "architectures", "torch_dtype", "dtype", "transformers_version")
# what the research code's copies of WavLM's layers share with every public WavLM-Large
_BOTTLENECK_LAYERS = {
    "num_buckets": 320,
    "max_bucket_distance": 800,
    "layer_norm_eps": 1e-5,
    "do_stable_layer_norm": True,
}


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the arguments of both parts from a research configuration; no tag of it is run.

    Parameters
    ----------
    path : str or Path
        Lightning's YAML.

    Returns
    -------
    features, backbone : dict
        `init_args` of the feature extractor and of the backbone.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not plain YAML or lacks a section or an argument.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration at {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not plain YAML: {error}") from error
    parts = []
    for name in ("feature_extractor", "backbone"):
        found = content
        for key in ("model", "init_args", name, "init_args"):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise ValueError(f"{path} has no section model.init_args.{name}.init_args")
        parts.append(found)
    features, backbone = parts
    needed = {"model_id", "layer_idx", "stage", "use_vae"} - features.keys()
    needed |= {"decoder_attention_heads", "hop_length", "nfft"} - backbone.keys()
    if needed:
        raise ValueError(f"{path} does not say {', '.join(sorted(needed))}")
    if features["stage"] not in (1, 2):
        raise ValueError(f"{path}: stage {features['stage']!r} is neither 1 nor 2")
    return features, backbone


def encoder_config(folder: Path, layer: int) -> dict[str, Any]:
    """Describe the SSL encoder as the folder of its original does.

    Parameters
    ----------
    folder : Path
        Folder with config.json and, if it has one, preprocessor_config.json. Weights are not read.
    layer : int
        Index into the original's hidden states; -1 is the last after its norm.

    Returns
    -------
    dict
        For :func:`wavcube.release.config_file.build`.

    Raises
    ------
    FileNotFoundError
        If the folder has no config.json.
    ValueError
        If it is not a WavLM with the layers that the bottleneck copies, or has no such layer.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no config.json: not the folder of an SSL encoder")
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("model_type") != "wavlm":
        raise ValueError(f"{path} describes a {config.get('model_type')!r}, not a 'wavlm'")
    for name, expected in _BOTTLENECK_LAYERS.items():
        if config.get(name, expected) != expected:
            raise ValueError(f"{path}: {name}={config[name]}, only {expected} can be converted")
    depth = config["num_hidden_layers"]
    if not -depth - 1 <= layer < depth:
        raise ValueError(f"layer_idx={layer} does not exist before the last norm of {depth} layers")
    preprocessor = folder / "preprocessor_config.json"
    normalises = True
    if preprocessor.is_file():
        normalises = json.loads(preprocessor.read_text(encoding="utf-8")).get("do_normalize", True)
    return {
        "class": "SSLEncoder",
        "config": {key: value for key, value in config.items() if key not in _NO_ARGUMENTS},
        # hidden states: the input embedding, then one for each layer
        "layer": layer if layer >= -1 else depth + 1 + layer,
        "do_normalize": normalises,
    }


def bottleneck_config(
    features: Mapping[str, Any], encoder: Mapping[str, Any], state: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Describe the semantic bottleneck: sizes off the weights, heads from the encoder.

    Parameters
    ----------
    features : mapping
        Of :func:`read_yaml`.
    encoder : mapping
        Of :func:`encoder_config`.
    state : mapping of str to Tensor
        The checkpoint's `state_dict`.

    Returns
    -------
    dict
        For :func:`wavcube.release.config_file.build`.

    Raises
    ------
    ValueError
        If a weight is missing or the YAML says another size.
    """
    kind = "VariationalBottleneck" if features["use_vae"] else "SemanticBottleneck"
    prefix = FEATURES + "enc_transformer."
    sizes = {
        "dim": _size(state, prefix + "0.layer_norm.weight", 0),
        "latent_dim": _size(state, FEATURES + "enc_projection.3.weight", 0),
        "ffn_dim": _size(state, prefix + "0.feed_forward.intermediate_dense.weight", 0),
    }
    _agree(features, sizes, {"latent_dim": "latent_dim"})
    return {
        "class": kind,
        **sizes,
        "num_layers": _count(state, prefix),
        "num_heads": encoder["config"]["num_attention_heads"],
        "with_decoder": any(name.startswith(FEATURES + "dec_") for name in state),
    }


def decoder_config(backbone: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Describe the acoustic decoder: sizes off the weights, heads and transform from the YAML.

    Parameters
    ----------
    backbone : mapping
        Of :func:`read_yaml`. The vocoder's heads and window may be missing: 16 and (40, 10).
    state : mapping of str to Tensor
        The checkpoint's `state_dict`.

    Returns
    -------
    dict
        For :func:`wavcube.release.config_file.build`.

    Raises
    ------
    ValueError
        If a weight is missing or the YAML says another size or another kind of decoder.
    """
    n_fft, hop = backbone["nfft"], backbone["hop_length"]
    if backbone.get("window_size", n_fft) != n_fft or not backbone.get("upsample", True):
        raise ValueError(
            f"window_size={backbone.get('window_size')}, nfft={n_fft}, "
            f"upsample={backbone.get('upsample')}: only a window of nfft samples and an upsampling "
            "decoder can be converted"
        )
    upper, lower = "backbone.decoder.layers.", "backbone.decoder.vocoder.layers."
    sizes = {
        "latent_dim": _size(state, "backbone.upsample_proj.weight", 1),
        "width": _size(state, "backbone.upsample_proj.weight", 0),
        "num_layers": _count(state, upper),
        "ffn_dim": _size(state, upper + "0.fc1.weight", 0),
    }
    upper_keys = ("latent_dim", "d_model", "decoder_layers", "decoder_ffn_dim")
    _agree(backbone, sizes, dict(zip(upper_keys, sizes, strict=True)))
    vocoder = {
        "input_dim": _size(state, "backbone.decoder.vocoder.embeddings.weight", 1),
        "dim": _size(state, "backbone.decoder.vocoder.embeddings.weight", 0),
        "num_layers": _count(state, lower),
        "ffn_dim": _size(state, lower + "0.fc1.weight", 0),
    }
    lower_keys = ("vocoder_dim", "vocoder_num_layers", "vocoder_intermediate_dim")
    _agree(backbone, vocoder, dict(zip(lower_keys, ("dim", "num_layers", "ffn_dim"), strict=True)))
    return {
        "class": "AcousticDecoder",
        "backbone": {
            "class": "CausalTransformerBackbone",
            **sizes,
            "num_heads": backbone["decoder_attention_heads"],
            "vocoder": {
                "class": "LocalVocoder",
                **vocoder,
                "num_heads": backbone.get("vocoder_attention_heads", VOCODER_HEADS),
                "window": list(backbone.get("vocoder_attn_window_size", VOCODER_WINDOW)),
            },
        },
        "head": {
            "class": "ISTFTHead",
            "dim": vocoder["dim"],
            "n_fft": n_fft,
            "hop": hop,
        },
    }


def _size(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    """Read one size of a weight that must be there."""
    if name not in state:
        raise ValueError(f"the checkpoint has no {name}: not a WavCube of the research code")
    return state[name].shape[axis]


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Count the layers below a prefix."""
    found = (re.match(re.escape(prefix) + r"(\d+)\.", name) for name in state)
    return len({match[1] for match in found if match})


def _agree(said: Mapping[str, Any], sizes: Mapping[str, int], names: Mapping[str, str]) -> None:
    """Refuse a YAML that says other sizes than the weights have."""
    for theirs, ours in names.items():
        if theirs in said and said[theirs] != sizes[ours]:
            raise ValueError(
                f"the configuration says {theirs}={said[theirs]}, the weights {sizes[ours]}: "
                "take the configuration that belongs to the checkpoint"
            )
