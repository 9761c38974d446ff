"""Names of the research code's weights, and ours for them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wavcube.release.weights import current_name

FEATURES = "feature_extractor."
TEACHER, TRAINED_ENCODER = FEATURES + "model.", FEATURES + "rep_model."
POST_NORM = FEATURES + "post_wavlm_layer_norm."
WINDOW = "backbone.decoder.vocoder.head.istft.window"

# discriminators, losses, judges, and an upsampler that the research code builds but never calls
TRAINING_ONLY = (
    "multiperioddisc.",
    "multiresddisc.",
    "melspec_loss.",
    "utmos.",
    "sim_model.",
    "backbone.decoder.dconv1.",
)

# the first pattern that matches a name renames its start; the rest of the name follows
_FAMILIES = (
    (r"feature_extractor\.enc_transformer\.", "bottleneck.semantic_encoder.layers."),
    (r"feature_extractor\.enc_projection\.", "bottleneck.semantic_encoder.projection."),
    (r"feature_extractor\.dec_transformer\.", "bottleneck.semantic_decoder.layers."),
    (r"feature_extractor\.dec_projection\.", "bottleneck.semantic_decoder.projection."),
    (r"feature_extractor\.fc_mu\.", "bottleneck.mean."),
    (r"feature_extractor\.fc_var\.", "bottleneck.log_variance."),
    (r"backbone\.upsample_proj\.", "decoder.backbone.embed."),
    (r"backbone\.decoder\.layers\.", "decoder.backbone.layers."),
    (r"backbone\.decoder\.layer_norm\.", "decoder.backbone.norm."),
    (r"backbone\.decoder\.dconv2\.", "decoder.backbone.upsampler."),
    (r"backbone\.decoder\.vocoder\.embeddings\.", "decoder.backbone.vocoder.embed."),
    (r"backbone\.decoder\.vocoder\.layers\.", "decoder.backbone.vocoder.layers."),
    (r"backbone\.decoder\.vocoder\.layer_norm\.", "decoder.backbone.vocoder.norm."),
    (r"backbone\.decoder\.vocoder\.head\.out\.", "decoder.head.out."),
)
_DECODER_LAYER = (
    (".self_attn.", ".attention."),
    (".self_attn_layer_norm.", ".attention_norm."),
    (".final_layer_norm.", ".ffn_norm."),
    (".fc1.", ".ffn_in."),
    (".fc2.", ".ffn_out."),
)


@dataclass
class Translation:
    """What became of a research checkpoint's weights.

    Attributes
    ----------
    weights : dict of str to Tensor
        Under our names, as stored, memory-mapped where the checkpoint was.
    skipped : Counter
        Families left out, with their number of keys.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


def translate(state: Mapping[str, Tensor], stage: int, layer: int, num_layers: int) -> Translation:
    """Rename a checkpoint's weights and leave out what only its training needed.

    Parameters
    ----------
    state : mapping of str to Tensor
        The checkpoint's `state_dict`.
    stage : int
        1, whose only encoder is the frozen WavLM, or 2, whose trained copy of it stands beside a
        teacher.
    layer : int
        Layer that the bottleneck reads; -1 is the last one after its norm.
    num_layers : int
        Transformer layers of the encoder up to that one; those above it are left out.

    Returns
    -------
    Translation
        Our weights, and what was skipped.

    Raises
    ------
    ValueError
        If a key belongs to no known family, two keys mean the same weight, or the transform's
        window is another one.

    Examples
    --------
    >>> found = translate({"backbone.decoder.layer_norm.bias": torch.zeros(4)}, 1, -1, 2)
    >>> list(found.weights)
    ['decoder.backbone.norm.bias']
    """
    encoder = TRAINED_ENCODER if stage == 2 else TEACHER
    skippable = [*TRAINING_ONLY]
    skippable += [TEACHER] if stage == 2 else []
    skippable += [POST_NORM] if layer == -1 else []
    result, unknown = Translation(), []
    for name, tensor in state.items():
        family = next((prefix for prefix in skippable if name.startswith(prefix)), None)
        if family is None and _above(name, encoder, num_layers):
            family = f"{encoder}encoder.layers above the chosen one"
        if family is not None:
            result.skipped[family] += 1
        elif name == WINDOW:
            _check_window(tensor)
        elif (ours := _our_name(name, encoder)) is None:
            unknown.append(name)
        elif ours in result.weights:
            raise ValueError(f"the checkpoint holds {ours} twice, once as {name}")
        else:
            # the 1x1 convolution of the research code is a Linear here
            pointwise = name == "backbone.upsample_proj.weight"
            result.weights[ours] = tensor.squeeze(-1) if pointwise else tensor
    if unknown:
        raise ValueError(
            f"{len(unknown)} keys of the checkpoint belong to no known part of stage {stage}: "
            f"{', '.join(sorted(unknown)[:6])}; is the configuration that of this checkpoint?"
        )
    return result


def _our_name(name: str, encoder: str) -> str | None:
    """Translate one name; None if it is unknown."""
    if name.startswith(encoder):
        return "encoder.model." + current_name(name.removeprefix(encoder))
    if name.startswith(POST_NORM):
        return "encoder.post_norm." + name.removeprefix(POST_NORM)
    for pattern, start in _FAMILIES:
        if match := re.match(pattern, name):
            ours = start + name[match.end() :]
            if start.startswith("decoder.backbone."):
                for theirs, own in _DECODER_LAYER:
                    ours = ours.replace(theirs, own)
            return ours
    return None


def _above(name: str, encoder: str, num_layers: int) -> bool:
    """Tell whether a weight belongs to an encoder layer above the chosen one."""
    match = re.match(re.escape(encoder) + r"encoder\.layers\.(\d+)\.", name)
    return match is not None and int(match[1]) >= num_layers


def _check_window(window: Tensor) -> None:
    """Refuse a checkpoint whose inverse transform uses another window than ours."""
    expected = torch.hann_window(len(window))
    # float16 storage rounds by 5e-4; another window differs by some 1e-3 and more
    if not torch.allclose(window.float(), expected, rtol=0, atol=6e-4):
        raise ValueError(f"{WINDOW} is not the periodic Hann window of the inverse transform")
