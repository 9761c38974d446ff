"""Self-supervised encoders of transformers as (features, lengths), exact in padded batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized
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

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.layers.level import Level, normalise
from wavcube.lobes.layers.modes import is_plain_inference
from wavcube.lobes.layers.weight_norm import WeightNormConv1d
from wavcube.lobes.lengths import ceil_division, length_mask
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
    positions = model.encoder.pos_conv_embed
    if is_parametrized(getattr(positions, "conv", model)):
        positions.conv = WeightNormConv1d(positions.conv)
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


# 2 s at 50 Hz: the first convolution's output then stays in the cache
FRAMES_AT_ONCE = 100


def run_front_end(extractor: nn.Module, wavs: Tensor, hop: int, field: int) -> Tensor:
    """Turn waveforms into frames.

    A frame sees nothing but its own samples, so that pieces give the same as the whole, in a
    fraction of its memory. A GroupNorm over time is the exception: its input is never cut.

    Parameters
    ----------
    extractor : nn.Module
        transformers' `feature_extractor`.
    wavs : Tensor
        `[B, T]`.
    hop, field : int
        Samples between two frames, and those that a frame sees.

    Returns
    -------
    Tensor
        `[B, N, F]`, N = floor((T - field) / hop) + 1.
    """
    frames = (wavs.shape[1] - field) // hop + 1
    whole = frames <= FRAMES_AT_ONCE or _sees_everything(extractor) or not is_plain_inference()
    if whole:
        return _convolve(extractor, wavs)
    made: list[Tensor] = []  # one tensor, once its width is known
    for first in range(0, frames, FRAMES_AT_ONCE):
        last = min(first + FRAMES_AT_ONCE, frames)
        piece = _convolve(extractor, wavs[:, first * hop : (last - 1) * hop + field])
        if not made:
            made.append(piece.new_empty(len(wavs), frames, piece.shape[2]))
        made[0][:, first:last] = piece
    return made[0]


def _sees_everything(extractor: nn.Module) -> bool:
    return any(isinstance(module, nn.GroupNorm) for module in extractor.modules())


def _convolve(extractor: nn.Module, wavs: Tensor) -> Tensor:
    x = wavs[:, None]
    layers: Any = extractor.conv_layers
    # not extractor(wavs): in train mode that makes the waveform require gradients
    for layer in layers:
        x = layer(x)
    return x.transpose(1, 2)


@dataclass
class SSLFeatures:
    """What an encoder makes of a batch.

    Attributes
    ----------
    feature : Tensor
        The chosen layer, `[B, N, C]`, zero in the padding.
    states : list of Tensor
        Input embedding and every layer to the chosen one, `[B, N, C]` each, or the last alone.
    num_frames : Tensor
        Valid frames of each item, `[B]`.
    front : Tensor
        What the front end made of the waveform, `[B, N, F]`: log-mel energies or convolutions.
    """

    feature: Tensor
    states: list[Tensor]
    num_frames: Tensor
    front: Tensor


class SSLEncoder(Configurable):
    """A WavLM, HuBERT or wav2vec2 whose result for an item never depends on its batch.

    Each utterance is normalised by its own true length, padding is silenced before it is seen, and
    the mask reaches every layer. Encoders whose first convolution has a GroupNorm over time cannot
    be masked; they run in groups of equal length. Layers above the chosen one are not built.
    Dropout, layer drop and feature masking are off: the encoder is a function.

    Parameters
    ----------
    config : Mapping
        transformers' configuration as plain data, with its `model_type`. Weights are random; see
        :meth:`from_pretrained`.
    layer : int
        -1 is the last layer after its final LayerNorm. Any other counts transformer layers (0 is
        the input embedding) and goes through a LayerNorm of its own.
    do_normalize : bool, optional
        Zero mean and unit variance for each utterance. By default as the model was trained: yes,
        but not for a filter bank, whose level matters.

    Raises
    ------
    ValueError
        If the model type or the layer does not exist.

    Examples
    --------
    >>> from wavcube.testing import tiny_ssl_config
    >>> encoder = SSLEncoder(tiny_ssl_config())
    >>> encoder(torch.randn(2, 1600)).feature.shape
    torch.Size([2, 5, 16])
    """

    model: Any  # transformers' own

    def __init__(
        self, config: Mapping[str, Any], layer: int = -1, do_normalize: bool | None = None
    ) -> None:
        super().__init__()
        settings = dict(config)
        model_type = settings.pop("model_type", None)
        if model_type not in MODEL_TYPES:
            raise ValueError(f"model_type {model_type!r} is not one of {sorted(MODEL_TYPES)}")
        config_class, model_class = MODEL_TYPES[model_type]
        parsed = config_class(**settings)
        if not -1 <= layer < parsed.num_hidden_layers:
            raise ValueError(
                f"layer {layer} of {parsed.num_hidden_layers}: choose 0 to "
                f"{parsed.num_hidden_layers - 1}, or -1 for the last with its final norm"
            )
        self.layer = layer
        self.do_normalize = (
            model_type != "filterbank_wavlm" if do_normalize is None else do_normalize
        )
        self.record(do_normalize=self.do_normalize)
        self.model = build_model(parsed, model_class, layer)
        width, eps = parsed.hidden_size, parsed.layer_norm_eps
        self.post_norm = nn.LayerNorm(width, eps) if layer >= 0 else None

    @property
    def dim(self) -> int:
        """Width C of the feature."""
        return self.model.config.hidden_size

    @property
    def front_dim(self) -> int:
        """Width F of the front end."""
        return self.model.config.conv_dim[-1]

    @property
    def num_layers(self) -> int:
        """Transformer layers that are run."""
        return len(self.model.encoder.layers)

    @property
    def sample_rate(self) -> int:
        """Of the waveform, in Hz."""
        return 16000

    @property
    def hop(self) -> int:
        """Samples between two frames."""
        return math.prod(self.model.config.conv_stride)

    def num_samples_for(self, num_frames: int) -> int:
        """Fewest samples from which the front end makes so many frames."""
        if self._has_filter_bank:
            return num_frames * self.hop
        samples, config = num_frames, self.model.config
        for kernel, stride in reversed([*zip(config.conv_kernel, config.conv_stride, strict=True)]):
            samples = (samples - 1) * stride + kernel
        return samples

    @property
    def _has_filter_bank(self) -> bool:
        return isinstance(self.model, FilterBankWavLM)

    def set_trainable(self, what: Literal["none", "transformer", "all"]) -> None:
        """Choose which parameters get gradients.

        Parameters
        ----------
        what : {"none", "transformer", "all"}
            "transformer" leaves the convolutional front end as it is.
        """
        if what not in ("none", "transformer", "all"):
            raise ValueError(f"trainable {what!r} is not one of 'none', 'transformer', 'all'")
        self.requires_grad_(what != "none")
        self.model.feature_extractor.requires_grad_(what == "all")

    def forward(
        self,
        wavs: Tensor,
        num_samples: Tensor | None = None,
        num_frames: Tensor | None = None,
        span_mask: Tensor | None = None,
        level: Level | None = None,
        keep_states: bool = True,
    ) -> SSLFeatures:
        """Encode.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`. What lies beyond an item's length is ignored.
        num_samples : Tensor, optional
            True lengths `[B]`; by default T.
        num_frames : Tensor, optional
            Frames wanted of each item `[B]`; by default ceil(samples / hop). Where the waveform
            is too short for them it is extended by silence.
        span_mask : Tensor, optional
            `[B, N]`, True where the input is replaced by the learned mask embedding (pretraining).
        level : Level, optional
            Normalise by this in place of each item's own, for windows of one recording.
        keep_states : bool
            Whether the layers below the chosen one are wanted; they take memory.

        Returns
        -------
        SSLFeatures
            Features, all states and true lengths.
        """
        if num_samples is None:
            num_samples = torch.full((len(wavs),), wavs.shape[1], device=wavs.device)
        if num_frames is None:
            num_frames = ceil_division(num_samples, self.hop)
        wavs = self.prepare(wavs, num_samples, num_frames, level)
        if self.model.config.feat_extract_norm == "layer":
            return self._run(wavs, num_frames, span_mask, keep_states)
        return self._run_grouped(wavs, num_samples, num_frames, span_mask)

    def prepare(
        self, wavs: Tensor, num_samples: Tensor, num_frames: Tensor, level: Level | None = None
    ) -> Tensor:
        """Normalise each item by its own length, silence its padding, and fit the front end.

        Returns
        -------
        Tensor
            `[B, T']`, T' the samples that the longest item has or its frames take.
        """
        wavs = wavs[:, : int(num_samples.max())]
        wavs = wavs.masked_fill(~length_mask(num_samples, wavs.shape[1]), 0.0)
        if self.do_normalize:
            wavs = normalise(wavs, num_samples, level)
        wanted = self.num_samples_for(int(num_frames.max()))
        return F.pad(wavs, (0, max(0, wanted - wavs.shape[1])))

    def _run_grouped(
        self, wavs: Tensor, num_samples: Tensor, num_frames: Tensor, span_mask: Tensor | None
    ) -> SSLFeatures:
        """Run items of equal length together: GroupNorm over time forbids padding."""
        size, everything = int(num_frames.max()), list[Tensor]()
        for samples in num_samples.unique().tolist():
            rows = (num_samples == samples).nonzero().squeeze(1)
            frames = int(num_frames[rows[0]])
            part = self._run(
                wavs[rows, : max(samples, self.num_samples_for(frames))],
                num_frames[rows],
                None if span_mask is None else span_mask[rows, :frames],
            )
            made = [part.front, *part.states]
            if not everything:
                everything = [x.new_zeros(len(wavs), size, x.shape[2]) for x in made]
            padded = [F.pad(x, (0, 0, 0, size - frames)) for x in made]
            everything = [x.index_copy(0, rows, p) for x, p in zip(everything, padded, strict=True)]
        front, *states = everything
        return SSLFeatures(states[-1], states, num_frames, front)

    def _run(
        self, wavs: Tensor, num_frames: Tensor, span_mask: Tensor | None, keep: bool = True
    ) -> SSLFeatures:
        """Run a batch whose padding is silent already."""
        front = self._front_end(wavs)[:, : int(num_frames.max())]
        projected = self.model.feature_projection(front)
        # WavLM and wav2vec2 return their input too, HuBERT does not
        x = projected[0] if isinstance(projected, tuple) else projected
        mask = length_mask(num_frames, x.shape[1])
        if span_mask is not None:
            x = torch.where(span_mask[..., None], self.model.masked_spec_embed.to(x.dtype), x)
        padding = ~mask[..., None]
        encoder = self.model.encoder
        x = x.masked_fill(padding, 0.0)
        x = x + encoder.pos_conv_embed(x)
        pre_norm = getattr(self.model.config, "do_stable_layer_norm", False)
        if not pre_norm:
            x = encoder.layer_norm(x)
        # no mask where nothing is padded: fused attention is faster without one
        keys = mask if bool(padding.any()) else None
        states = run_layers(encoder.layers, x, keys, keep)
        if self.layer == -1:
            last = encoder.layer_norm(states[-1]) if pre_norm else states[-1]
        else:
            last = states[-1] if self.post_norm is None else self.post_norm(states[-1])
        states = [state.masked_fill(padding, 0.0) for state in [*states[:-1], last]]
        return SSLFeatures(states[-1], states, num_frames, front.masked_fill(padding, 0.0))

    def _front_end(self, wavs: Tensor) -> Tensor:
        """Map `[B, T]` to `[B, N, F]`."""
        extractor = self.model.feature_extractor
        if self._has_filter_bank:
            return extractor(wavs)
        return run_front_end(extractor, wavs, self.hop, self.num_samples_for(1))


class LayerMix(Configurable):
    """Weigh all states of an SSL encoder, its input embedding included.

    The last layer knows what is said but little of how it sounds; the first ones are the reverse. A
    latent that must serve both gets both. It starts as the plain mean.

    Parameters
    ----------
    num_states : int
        Layers of the encoder plus one.

    Examples
    --------
    >>> LayerMix(2)([torch.zeros(1, 3, 4), torch.ones(1, 3, 4)])[0, 0, 0].item()
    0.5
    """

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_states))

    def forward(self, states: list[Tensor]) -> Tensor:
        """Mix.

        Parameters
        ----------
        states : list of Tensor
            `[B, N, C]` each.

        Returns
        -------
        Tensor
            `[B, N, C]`.

        Raises
        ------
        ValueError
            If the number of states is another than the constructor's.
        """
        if len(states) != len(self.logits):
            raise ValueError(f"{len(states)} states for a mix of {len(self.logits)}")
        weights = self.logits.softmax(0)
        return sum(weight * state for weight, state in zip(weights, states, strict=True))
