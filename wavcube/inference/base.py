"""What all classes that users load share: releases, devices, and checks of what they are given."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import torch
from speechbrain.inference.interfaces import Pretrained
from speechbrain.utils.autocast import AMPConfig
from speechbrain.utils.distributed import infer_device
from speechbrain.utils.fetching import FetchConfig
from torch import Tensor, nn

from wavcube.data.checks import (
    Waveforms,
    check_waveforms,
    device_name,
    resample_batch,
    whole_rate,
)
from wavcube.lobes.decoder.convnext import ConvNeXtBlock
from wavcube.lobes.decoder.rotary_transformer import RotaryTransformerLayer
from wavcube.lobes.layers.linear import halve_matrices, quantize_linears
from wavcube.lobes.ssl.transformer import RelativeTransformerLayer
from wavcube.release.config_file import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    build,
    extra_file_names,
    read_config,
    read_task,
)
from wavcube.release.source import (
    fetch_file,
    packaged_release,
    resolve_source,
)
from wavcube.release.weights import init_empty, load_release_weights, settle_types
from wavcube.utils.precision import AUTO, settle_precision

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

# SpeechBrain's names of half precision
HALF = ("fp16", "bf16")
PRECISIONS = ("fp32", *HALF, AUTO)
QUANTIZED = ("int8",)
# what a model is made of many times over: compiled once each, not the whole
REPEATED = (RelativeTransformerLayer, RotaryTransformerLayer, ConvNeXtBlock)


def check_options(run_opts: MutableMapping[str, Any]) -> str | None:
    """Check the options for speed and take out what SpeechBrain does not know.

    Parameters
    ----------
    run_opts : mapping
        Of the user; `quantize` is removed.

    Returns
    -------
    str or None
        How to quantise.

    Raises
    ------
    ValueError
        If a value is unknown, or two options do not go together.

    Examples
    --------
    >>> check_options({"precision": "bf16"})
    >>> check_options({"precision": "half"})
    Traceback (most recent call last):
    ...
    ValueError: precision 'half' is not one of ('fp32', 'fp16', 'bf16', 'auto')
    """
    if run_opts.get("precision") is None:
        run_opts.pop("precision", None)
    precision, quantize = run_opts.get("precision", "fp32"), run_opts.pop("quantize", None)
    if precision in QUANTIZED:
        raise ValueError(f"{precision} is not a precision: give quantize={precision!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is not one of {PRECISIONS}")
    if quantize is None:
        return None
    if quantize not in QUANTIZED:
        raise ValueError(f"quantize {quantize!r} is not one of {QUANTIZED}")
    if precision != "fp32" or run_opts.get("compile"):
        raise ValueError("quantize goes with precision 'fp32' and without compile")
    return quantize


def settle(run_opts: MutableMapping[str, Any]) -> None:
    """Put the precision that a name stands for on the device in its place.

    Parameters
    ----------
    run_opts : mapping
        Of the user.

    Examples
    --------
    >>> options = {"precision": "auto", "device": "cpu"}
    >>> settle(options)
    >>> options["precision"] in ("fp32", "bf16")
    True
    """
    if "precision" in run_opts:
        device = run_opts.get("device")
        device = infer_device() if device is None else device_name(device)
        run_opts["precision"] = settle_precision(run_opts["precision"], device)


def compile_layers(module: nn.Module, **options: Any) -> None:  # noqa: ANN401 - torch.compile's
    """Compile every repeated layer in place.

    Parameters
    ----------
    module : nn.Module
        Whose layers to compile; names of weights stay as they are.
    **options
        For torch.compile.
    """
    for part in module.modules():
        if isinstance(part, REPEATED):
            part.compile(**options)


# seconds beyond which a recording goes window by window
LONG = 60.0


class ReleasedModel(Pretrained):
    """A model of a release, ready for use.

    Inputs follow the model's device (also after ``.to``), and results stay on it. With no
    ``device`` in ``run_opts`` SpeechBrain takes an accelerator when there is one, else the CPU. On
    a GPU SpeechBrain switches TensorFloat32 on, which rounds more than batches change; the
    environment variable `SB_DISABLE_QUIRKS=allow_tf32` keeps full float32.

    ``run_opts`` also takes SpeechBrain's `precision` ("bf16", "fp16": matrices are multiplied in
    it, on a GPU or CPU; "auto": see :mod:`wavcube.utils.precision`) and `compile` (with
    `compile_mode` and its like: the repeated layers, at the first call), and `quantize` ("int8": on
    a CPU, see :class:`~wavcube.lobes.layers.linear.QuantizedLinear`).

    A subclass names its one module in ``MODULES_NEEDED``, by ``MODEL`` which models it can use, and
    by ``PACKAGED`` what there is without a source.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        The network.
    hparams : mapping, optional
        What else the YAML holds.
    run_opts : mapping, optional
        SpeechBrain's run options. `device` may be "cpu", "cuda", "cuda:1" or a torch.device.
    freeze_params : bool
        Switch gradients off.

    Raises
    ------
    ValueError
        If the device does not exist.
    """

    # classes of the models that it can use
    MODEL: ClassVar[type[nn.Module] | tuple[type[nn.Module], ...]]
    # folder of the small model among those of the package
    PACKAGED: ClassVar[str]
    # whether weights are mapped from the file, and read when they are first used
    LAZY: ClassVar[bool] = False

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        freeze_params: bool = True,
    ) -> None:
        run_opts = dict(run_opts or {})
        quantize = check_options(run_opts)
        if run_opts.get("device") is not None:
            run_opts["device"] = device_name(run_opts["device"])
        settle(run_opts)
        super().__init__(modules, dict(hparams or {}), run_opts, freeze_params)
        self.mods.eval()
        if self.precision == "fp16" and self._where.type == "cpu":
            logger.warning("precision fp16 is slower than float32 on a CPU: take bf16 there")
        if quantize or self.precision in HALF:
            self.before_weights_change()
        if quantize:
            quantize_linears(self.mods, self._where)
        elif self.precision in HALF:
            halve_matrices(self.mods, AMPConfig.from_name(self.precision).dtype)

    def before_weights_change(self) -> None:
        """Do what needs the weights as they were stored."""

    def _compile(self) -> None:
        """Compile the layers that are repeated, in place: names and methods stay as they are."""
        if self.compile:
            compile_layers(
                self.mods,
                mode=self.compile_mode,
                fullgraph=self.compile_using_fullgraph,
                dynamic=self.compile_using_dynamic_shape_tracing or None,
            )

    @classmethod
    def from_hparams(
        cls,
        source: str | Path | None = None,
        *,
        savedir: str | Path | None = None,
        run_opts: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        fetch_config: FetchConfig | None = None,
        freeze_params: bool = True,
    ) -> Self:
        """Load a release.

        A folder is read in place: no network, no links, nothing written. Of a hub id only
        config.json and what it names are downloaded, once; never any Python code.

        Parameters
        ----------
        source : str or Path, optional
            Folder of a release, or a hub id of the form owner/name; by default the small model
            that comes with the package.
        savedir : str or Path, optional
            Where downloads are kept; by default Hugging Face's cache. Unused for a folder.
        run_opts : mapping, optional
            See the class.
        overrides : mapping, optional
            Changes to the model's configuration, nested as config.json has it under `model`.
        fetch_config : FetchConfig, optional
            SpeechBrain's settings for downloads: revision, token, no network.
        freeze_params : bool
            Switch gradients off.

        Returns
        -------
        ReleasedModel
            An object of this class, in eval mode.

        Raises
        ------
        FileNotFoundError
            If the source or a file of it does not exist.
        ValueError
            If config.json names a class or an argument that no release has, a weight is missing,
            unexpected or of another size, or a file is broken; or the release is of another class.
        """
        source = resolve_source(packaged_release(cls.PACKAGED) if source is None else source)
        config = fetch_config or FetchConfig()
        path = fetch_file(CONFIG_FILE, source, savedir, config)
        described = _merged(read_config(path.parent), overrides or {})
        # a packaged representation fills itself when it is built
        lazily = cls.LAZY and "representation" not in described
        with init_empty() if lazily else nullcontext():
            model = build(described, str(path))
        cls.check_fits(model, str(path.parent))
        if task := read_task(path.parent):
            setattr(model, "task", task)  # noqa: B010 - of any class
        weights_file = fetch_file(WEIGHTS_FILE, source, savedir, config)
        load_release_weights(model, weights_file)
        run_opts = dict(run_opts or {})
        if run_opts.get("precision") == AUTO:  # of bf16 by name the constructor warns, once
            settle(run_opts)
        settle_types(model, run_opts.get("precision") in HALF)
        files = {
            name: fetch_file(name, source, savedir, config)
            for name in extra_file_names(path.parent)
        }
        (name,) = cls.MODULES_NEEDED
        hparams = {"weights_file": weights_file, "files": files}
        return cls({name: model}, hparams, run_opts, freeze_params)

    @classmethod
    def check_fits(cls, model: nn.Module, where: str) -> None:
        """Refuse a release of another class, naming the one that loads it.

        Parameters
        ----------
        model : nn.Module
            Of the release.
        where : str
            The release, for the message.

        Raises
        ------
        ValueError
            If this class cannot use the model.
        """
        if not isinstance(model, cls.MODEL):
            loader, _ = getattr(model, "usage", ("WavCube", ""))
            raise ValueError(f"{where} is not of a {cls.__name__}: load it with {loader}")

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        (name,) = self.MODULES_NEEDED
        return self.mods[name].sample_rate

    def checked(
        self, wavs: Waveforms, wav_lens: Tensor | None = None, sample_rate: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Bring waveforms to the model's device and rate, after looking at every valid sample.

        Parameters
        ----------
        wavs : Tensor, array or list of them
            `[B, T]`, or `[T]` for one, floating point in about -1 to 1; a list is padded.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        sample_rate : int, optional
            Of ``wavs``, in Hz; another rate than the model's is resampled. By default the model's.

        Returns
        -------
        wavs : Tensor
            `[B, T]`, float32.
        wav_lens : Tensor or None
            Relative lengths `[B]`.

        Raises
        ------
        ValueError
            If the shape, type, lengths or rate are wrong, or a sample is not finite.
        """
        wavs, wav_lens = check_waveforms(wavs, wav_lens, self._where)
        rate = self.sample_rate if sample_rate is None else whole_rate(sample_rate)
        if rate != self.sample_rate:
            logger.info("resampling from %d Hz to %d Hz", rate, self.sample_rate)
            wavs, wav_lens = resample_batch(wavs, wav_lens, rate, self.sample_rate)
        return wavs, wav_lens

    def _is_long(self, num_samples: int) -> bool:
        return num_samples > LONG * self.sample_rate

    def half(self) -> NoReturn:
        """Refuse; weights stay as they are, and ``run_opts`` say what is multiplied in."""
        raise TypeError(
            "precision is chosen on loading: from_hparams(..., run_opts={'precision': 'bf16'})"
        )

    double = bfloat16 = half

    @property
    def _where(self) -> torch.device:
        """Where the parameters are: ``device`` is what the model was built with."""
        return next(self.mods.parameters()).device


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay changes over a configuration, at any depth."""
    changed = {
        key: _merged(config[key], value)
        if isinstance(value, Mapping) and isinstance(config.get(key), Mapping)
        else value
        for key, value in changes.items()
    }
    return {**config, **changed}


def check_computed(result: Tensor, doing: str, given: Tensor) -> None:
    """Refuse a result that is not finite, which finite input gives only beyond its usual range.

    Parameters
    ----------
    result : Tensor
        Of the model.
    doing : str
        How it came about, for the message.
    given : Tensor
        What it was made from.

    Raises
    ------
    ValueError
        Naming the largest value that was given.

    Examples
    --------
    >>> check_computed(torch.tensor([torch.inf]), "decoding", torch.ones(1))
    Traceback (most recent call last):
    ...
    ValueError: decoding gives values that are not finite (torch.float32): the largest given is 1
    """
    if not bool(torch.isfinite(result).all()):
        raise ValueError(
            f"{doing} gives values that are not finite ({result.dtype}): the largest given is "
            f"{float(given.abs().max()):.3g}"
        )
