"""The class that users load: `WavCube.from_hparams(source=FOLDER_OR_HUB_ID)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from wavcube.data.checks import Waveforms, check_latents, relative_lengths, whole_lengths
from wavcube.inference.base import check_computed
from wavcube.inference.files import FileMethods
from wavcube.lobes.latent_codec import LatentCodec
from wavcube.lobes.layers.linear import offload_linears
from wavcube.release.config_file import inference_state, latent_hash, release_hash
from wavcube.release.weights import StoredWeights


class WavCube(FileMethods):
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

    MODEL = LatentCodec
    MODULES_NEEDED = ["wavcube"]  # noqa: RUF012 - SpeechBrain's convention
    PACKAGED: ClassVar[str] = "wavcube_tiny"
    LAZY: ClassVar[bool] = True

    def __init__(
        self,
        modules: Mapping[str, torch.nn.Module],
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        freeze_params: bool = True,
    ) -> None:
        # dicts are not modules: they may be set before nn.Module is
        self._hashes: dict[str, tuple[list[tuple[int, int]], str]] = {}
        # weights to hash in place of the lobe's own, if those were rounded
        self._stored: tuple[Mapping[str, Tensor], ...] = ()
        super().__init__(modules, hparams, run_opts, freeze_params)

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
        """SHA-256 of configuration and weights."""
        return self._hash("model", release_hash)

    @property
    def latent_hash(self) -> str:
        """SHA-256 of all but the decoder: latents belong to models that make the same ones."""
        return self._hash("latent", latent_hash)

    def before_weights_change(self) -> None:
        """Remember what to hash, and leave float16 matrices in their file.

        Rounded latents are those of the release, but for rounding.
        """
        file = getattr(self.hparams, "weights_file", None)
        own = inference_state(self.mods.wavcube)
        stored = dict(own) if file is None else StoredWeights(file)
        self._stored = (stored,)
        frozen = not any(parameter.requires_grad for parameter in self.mods.parameters())
        # a CPU converts them to its half precision at every call, wherever they come from
        if file is not None and frozen and self._where.type == "cpu" and not self.compile:
            offload_linears(self.mods.wavcube, stored)

    def _hash(self, what: str, function: Callable[..., str]) -> str:
        # hashing a large model takes seconds: once, unless a weight is changed in place
        lobe = self.mods.wavcube
        state: list[tuple[int, int]] = []
        if not self._stored:
            weights = lobe.state_dict(keep_vars=True).values()
            state = [(weight.data_ptr(), weight._version) for weight in weights]
        if what not in self._hashes or self._hashes[what][0] != state:
            self._hashes[what] = state, function(lobe, *self._stored)
        return self._hashes[what][1]

    def encode_batch(
        self,
        wavs: Waveforms,
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
        wavs, wav_lens = self.checked(wavs, wav_lens, sample_rate)
        with torch.no_grad(), self.inference_ctx:
            latents, lens = self.mods.wavcube.encode(wavs, wav_lens)
        check_computed(latents, "encoding these waveforms", wavs)
        return latents.float(), lens

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
        latents, lens = latents.float(), relative_lengths(lens, self._where)
        check_latents(latents, self.latent_dim, lens)
        length = whole_lengths(length)
        with torch.no_grad(), self.inference_ctx:
            wavs = self.mods.wavcube.decode(latents, lens, length)
        check_computed(wavs, "decoding these latents", latents)
        return wavs

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> Tensor:
        """Encode and decode `[B, T]`; T samples come back."""
        latents, lens = self.encode_batch(wavs, wav_lens)
        return self.decode_batch(latents, lens, length=torch.as_tensor(wavs).shape[-1])
