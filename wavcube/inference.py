"""The class that users load: `WavCube.from_hparams(source=FOLDER_OR_HUB_ID)`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from speechbrain.inference.interfaces import Pretrained
from speechbrain.utils.fetching import FetchConfig
from torch import Tensor

from wavcube.batch_checks import (
    check_finite,
    check_waveforms,
    device_name,
    relative_lengths,
    resample_batch,
    whole_lengths,
)
from wavcube.export import release_config, release_hash
from wavcube.file_methods import FileMethods
from wavcube.lobes.lengths import to_absolute
from wavcube.release.config_file import CONFIG_FILE, check_agreement
from wavcube.release.hyperparams_yaml import YAML_FILE
from wavcube.release.source import (
    fetch_file,
    load_hyperparams,
    load_parameters,
    resolve_source,
)

logger = logging.getLogger(__name__)


class WavCube(FileMethods, Pretrained):
    """A trained WavCube: speech to latents and back.

    An offline model: its latents depend on what comes later, too. Each attention layer of the
    packaged model sees 4 s to each side; an SSL encoder without a window sees the whole recording.
    Inputs follow the model's device (also after ``.to``), and results stay on it; files are always
    written from the CPU. With no ``device`` in ``run_opts`` SpeechBrain takes an accelerator when
    there is one, else the CPU.
    On a GPU SpeechBrain switches TensorFloat32 on, which rounds more than batches change; the
    environment variable `SB_DISABLE_QUIRKS=allow_tf32` keeps full float32.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        `wavcube`, the lobe.
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

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> model = WavCube({"wavcube": tiny_wavcube()}, run_opts={"device": "cpu"})
    >>> latents, lens = model.encode_batch(torch.randn(2, 1000), torch.tensor([1.0, 0.5]))
    >>> latents.shape
    torch.Size([2, 4, 8])
    >>> model.decode_batch(latents, lens, length=1000).shape
    torch.Size([2, 1000])
    """

    MODULES_NEEDED = ["wavcube"]  # noqa: RUF012 - SpeechBrain's convention

    def __init__(
        self,
        modules: Mapping[str, torch.nn.Module],
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        freeze_params: bool = True,
    ) -> None:
        run_opts = dict(run_opts or {})
        if run_opts.get("device") is not None:
            run_opts["device"] = device_name(run_opts["device"])
        super().__init__(modules, dict(hparams or {}), run_opts, freeze_params)
        self.mods.eval()
        self._hashed: tuple[list[tuple[int, int]], str] | None = None

    @classmethod
    def from_hparams(
        cls,
        source: str | Path | None = None,
        hparams_file: str = YAML_FILE,
        *,
        savedir: str | Path | None = None,
        run_opts: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | str | None = None,
        fetch_config: FetchConfig | None = None,
        trust_yaml: bool = False,
        freeze_params: bool = True,
    ) -> WavCube:
        """Load a release.

        A folder is read in place: no network, no links, nothing written. Of a hub id only
        hyperparams.yaml and the weights are downloaded, once; never any Python code.

        Parameters
        ----------
        source : str or Path, optional
            Folder of a release, or a hub id of the form owner/name; by default the small model
            that comes with the package.
        hparams_file : str
            Name of the YAML.
        savedir : str or Path, optional
            Where downloads are kept; by default Hugging Face's cache. Unused for a folder.
        run_opts : mapping, optional
            See the class.
        overrides : mapping or str, optional
            Changes to the YAML.
        fetch_config : FetchConfig, optional
            SpeechBrain's settings for downloads: revision, token, no network.
        trust_yaml : bool
            Build whatever the YAML names. A YAML is a program: only for one whose author you trust.
        freeze_params : bool
            Switch gradients off.

        Returns
        -------
        WavCube
            In eval mode.

        Raises
        ------
        FileNotFoundError
            If the source or a file of it does not exist.
        UnsafeYAMLError
            If the YAML names what no release needs; nothing of it has been built then.
        ValueError
            If a weight is missing, unexpected or of another size, or a file is broken, or a
            folder's config.json describes another model than the YAML.
        """
        source = resolve_source(source)
        config = fetch_config or FetchConfig()
        path = fetch_file(hparams_file, source, savedir, config)
        hparams = load_hyperparams(path, overrides, trust_yaml)
        if not overrides and not trust_yaml and (Path(source) / CONFIG_FILE).is_file():
            check_agreement(source, release_config(hparams["modules"]["wavcube"]), hparams_file)
        load_parameters(hparams["pretrainer"], source, savedir, config, trust_yaml)
        return cls(hparams["modules"], hparams, run_opts, freeze_params)

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self.mods.wavcube.sample_rate

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.mods.wavcube.frame_rate

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return self.mods.wavcube.hop

    @property
    def latent_dim(self) -> int:
        """Width D of the latent."""
        return self.mods.wavcube.latent_dim

    @property
    def model_hash(self) -> str:
        """SHA-256 of configuration and weights: latents belong to the model that made them."""
        # hashing a large model takes seconds: once, unless a weight is changed in place
        lobe = self.mods.wavcube
        state = [(v.data_ptr(), v._version) for v in lobe.state_dict(keep_vars=True).values()]
        if self._hashed is None or self._hashed[0] != state:
            self._hashed = state, release_hash(lobe)
        return self._hashed[1]

    def encode_batch(
        self,
        wavs: Tensor,
        wav_lens: Tensor | None = None,
        sample_rate: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode waveforms.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`, or `[T]` for one, floating point in about -1 to 1. What lies beyond an item's
            length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        sample_rate : int, optional
            Of ``wavs``, in Hz; another rate than the model's is resampled. By default the model's.

        Returns
        -------
        latents : Tensor
            `[B, N, D]` with N = ceil(T / hop), zero in the padding, on the model's device.
        lens : Tensor
            Relative lengths `[B]` of the latents.

        Raises
        ------
        ValueError
            If the shape, type, lengths or rate are wrong, or a sample is not finite; or so large
            that the latents are not.
        """
        wavs, wav_lens = check_waveforms(wavs, wav_lens, self._where)
        if sample_rate is not None and sample_rate != self.sample_rate:
            logger.info("resampling from %s Hz to %d Hz", sample_rate, self.sample_rate)
            wavs, wav_lens = resample_batch(wavs, wav_lens, sample_rate, self.sample_rate)
        with torch.no_grad(), self.inference_ctx:
            latents, lens = self.mods.wavcube.encode(wavs, wav_lens)
        _check_computed(latents, "encoding these waveforms", wavs)
        return latents, lens

    def decode_batch(
        self,
        latents: Tensor,
        lens: Tensor | None = None,
        length: int | Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """Decode latents.

        Parameters
        ----------
        latents : Tensor
            `[B, N, D]`.
        lens : Tensor, optional
            Relative lengths `[B]` of the latents; by default every item fills the batch.
        length : int or sequence of int, optional
            Samples wanted: of the padded batch, or of each item. By default frames times hop.

        Returns
        -------
        Tensor
            `[B, length]` on the model's device, zero beyond an item's end.

        Raises
        ------
        ValueError
            If the latents have another width, are not finite, or cannot give so many samples; or
            are so large that the waveform is not finite.
        """
        latents = torch.as_tensor(latents, device=self._where)
        if latents.dim() != 3 or latents.shape[2] != self.latent_dim or not latents.numel():
            raise ValueError(
                f"latents must be [batch, frames, {self.latent_dim}], got {list(latents.shape)}"
            )
        latents, lens = latents.float(), relative_lengths(lens, self._where)
        frames = to_absolute(lens, latents.shape[1], len(latents), self._where)
        check_finite(latents, frames, "latents", "frame")
        length = whole_lengths(length)
        with torch.no_grad(), self.inference_ctx:
            wavs = self.mods.wavcube.decode(latents, lens, length)
        _check_computed(wavs, "decoding these latents", latents)
        return wavs

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> Tensor:
        """Encode and decode `[B, T]`; T samples come back."""
        latents, lens = self.encode_batch(wavs, wav_lens)
        return self.decode_batch(latents, lens, length=torch.as_tensor(wavs).shape[-1])

    @property
    def _where(self) -> torch.device:
        """Where the parameters are: ``device`` is what the model was built with."""
        return next(self.mods.parameters()).device


def _check_computed(result: Tensor, doing: str, given: Tensor) -> None:
    """Refuse a result that is not finite, which finite input gives only beyond its usual range."""
    if not bool(torch.isfinite(result).all()):
        raise ValueError(
            f"{doing} gives values that are not finite ({result.dtype}): the largest given is "
            f"{float(given.abs().max()):.3g}"
        )
