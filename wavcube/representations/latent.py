"""WavCube's latent as a representation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wavcube.lobes.latent_codec import LatentCodec
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.release.config_file import latent_hash, release_config
from wavcube.release.folder import load_release
from wavcube.release.source import packaged_model
from wavcube.representations.base import (
    Representation,
    mark_as_packaged,
    never_tuned,
    packaged_folder,
)

MODELS: Mapping[str, Callable[[], Path]] = {"wavcube_tiny": packaged_model}


class LatentRepresentation(Representation):
    """The latent of a WavCube, or of another model of the same interface.

    Fine-tuning changes what makes the latent; the decoder, and the convolutions of an SSL encoder,
    stay as they are.

    Parameters
    ----------
    model : LatentCodec
        The lobe.
    unfreeze_at : int, optional
        Number of the update, from 0, at which fine-tuning begins; by default never.
    lr : float, optional
        Learning rate of fine-tuning; needed with ``unfreeze_at``.

    Examples
    --------
    >>> import torch
    >>> from wavcube.testing import tiny_wavcube
    >>> features, lens = LatentRepresentation(tiny_wavcube())(torch.randn(2, 1600))
    >>> features.shape
    torch.Size([2, 5, 8])
    """

    model: LatentCodec

    def __init__(
        self, model: LatentCodec, unfreeze_at: int | None = None, lr: float | None = None
    ) -> None:
        super().__init__(model, 1, unfreeze_at, lr)

    @classmethod
    def from_release(
        cls,
        source: str | Path | None = None,
        unfreeze_at: int | None = None,
        lr: float | None = None,
    ) -> LatentRepresentation:
        """Load a release's model.

        Parameters
        ----------
        source : str or Path, optional
            Folder or hub id of a release; by default the small model that comes with the package.
        unfreeze_at : int, optional
            Number of the update, from 0, at which fine-tuning begins; by default never.
        lr : float, optional
            Learning rate of fine-tuning; needed with ``unfreeze_at``.

        Raises
        ------
        FileNotFoundError
            If there is no such release.
        ValueError
            If it is broken.
        """
        if source is None and unfreeze_at is None:
            return PackagedLatent()
        from wavcube.inference.latent import WavCube

        loaded = WavCube.from_hparams(source, run_opts={"device": "cpu"})
        return cls(loaded.mods.wavcube, unfreeze_at, lr)

    @property
    def dim(self) -> int:
        """Width C of the latent."""
        return self.model.latent_dim

    @property
    def model_hash(self) -> str:
        """SHA-256 of what makes the latents: the model without its decoder."""
        return latent_hash(self.model)

    def description(self) -> Mapping[str, Any]:
        """Return the lobe's own description."""
        return release_config(self.model)

    def num_frames(self, samples: int) -> int:
        """Frames of a waveform of so many samples, by the lobe's length contract."""
        return self.model.num_frames(samples)

    def compute(self, wavs: Tensor, samples: Tensor, frames: Tensor) -> Tensor:
        """Encode; see the base class."""
        return self.model.latents_of(wavs, samples, frames)[:, None]

    def tuned(self, unfreeze_at: int, lr: float) -> LatentRepresentation:
        """Give the latent of the same model, to be fine-tuned; see the base class."""
        return LatentRepresentation(self.model, unfreeze_at, lr)

    def fine_tuned(self) -> list[nn.Parameter]:
        """List the parameters that make the latent; none if it is frozen."""
        if self.is_frozen:
            return []
        left_out = {id(parameter) for parameter in self.model.decoder.parameters()}
        if isinstance(self.model.encoder, SSLEncoder):
            left_out |= never_tuned(self.model.encoder)
        return [
            parameter
            for name, parameter in self.model.named_parameters()
            # a latent is the mean of a posterior, whatever its variance
            if id(parameter) not in left_out
            and "semantic_decoder" not in name
            and "log_variance" not in name
        ]


class PackagedLatent(LatentRepresentation):
    """The latent of a model of the package, frozen; its weights are in no state.

    Parameters
    ----------
    name : str
        Of the model; there is "wavcube_tiny".
    model_hash : str, optional
        That the model must have.

    Raises
    ------
    ValueError
        If there is no such model, or it is another one.

    Examples
    --------
    >>> representation = PackagedLatent()
    >>> representation.dim, list(representation.state_dict())
    (128, [])
    """

    def __init__(self, name: str = "wavcube_tiny", model_hash: str | None = None) -> None:
        super().__init__(load_release(packaged_folder(name, MODELS)))
        self.name = name
        mark_as_packaged(self, model_hash)
