"""transformers' speech encoders as this package runs them: to one layer, on fused attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import (
    HubertConfig,
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from wavcube.lobes.ssl.filterbank_wavlm import FilterBankWavLM, FilterBankWavLMConfig
from wavcube.lobes.ssl.transformer import RelativeTransformer

MODEL_TYPES: dict[str, tuple[type[PretrainedConfig], type[PreTrainedModel]]] = {
    "wavlm": (WavLMConfig, WavLMModel),
    "filterbank_wavlm": (FilterBankWavLMConfig, FilterBankWavLM),
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
}


def build_model(
    config: PretrainedConfig, model_class: type[PreTrainedModel], layer: int
) -> PreTrainedModel:
    """Build a model up to a layer, deterministic, on fused attention.

    Parameters
    ----------
    config : PretrainedConfig
        Is changed: dropout off, no more layers than are needed.
    model_class : type
        Of :data:`MODEL_TYPES`.
    layer : int
        See :class:`~wavcube.lobes.ssl.encoder.SSLEncoder`.

    Returns
    -------
    PreTrainedModel
        With random weights, under transformers' names.
    """
    for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"):
        setattr(config, name, 0.0)
    if layer >= 0:
        config.num_hidden_layers = layer
    wavlm = issubclass(model_class, WavLMModel)
    # WavLM's own attention has no fused path; its layers are replaced below
    config._attn_implementation = "eager" if wavlm else "sdpa"
    model: Any = model_class(config)
    if wavlm:
        model.encoder.layers = RelativeTransformer(
            config.hidden_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.intermediate_size,
            config.num_buckets,
            config.max_bucket_distance,
            config.layer_norm_eps,
            config.do_stable_layer_norm,
            getattr(config, "attention_window", None),
        )
        model.encoder.layers.apply(model._init_weights)
    return model


def unused_parameters(model: PreTrainedModel, layer: int) -> list[nn.Parameter]:
    """List the parameters that no feature depends on: of several processes none may train them.

    Pretraining alone uses the first, the embedding of what is hidden.

    Parameters
    ----------
    model : PreTrainedModel
        Of :func:`build_model`.
    layer : int
        Of the feature; the last norm belongs to -1.

    Examples
    --------
    >>> config = WavLMConfig(hidden_size=48, num_hidden_layers=1, do_stable_layer_norm=True)
    >>> model = build_model(config, WavLMModel, 0)
    >>> len(unused_parameters(model, -1)), len(unused_parameters(model, 0))
    (1, 3)
    """
    parts: Any = model
    unused = [parts.masked_spec_embed]
    if layer >= 0 and model.config.do_stable_layer_norm:
        unused += parts.encoder.layer_norm.parameters()
    return unused


def run_layers(
    layers: nn.ModuleList, x: Tensor, mask: Tensor | None, keep_states: bool = True
) -> list[Tensor]:
    """Run a stack of layers.

    Parameters
    ----------
    layers : nn.ModuleList
        Of a model of :func:`build_model`.
    x : Tensor
        `[B, N, C]`.
    mask : Tensor or None
        `[B, N]`, True where valid; None where nothing is padded.
    keep_states : bool
        Whether all states are wanted, or only the last.

    Returns
    -------
    list of Tensor
        The input and every layer's output, `[B, N, C]` each.
    """
    if isinstance(layers, RelativeTransformer):
        return layers.hidden_states(x, mask, keep_states)
    states = [x]
    keys = None if mask is None else mask[:, None, None, :].expand(-1, 1, x.shape[1], -1)
    for layer in layers:
        out = layer(states[-1], attention_mask=keys)
        states.append(out[0] if isinstance(out, tuple) else out)
        if not keep_states:
            del states[0]
    return states
