"""All layers of a self-supervised encoder as a representation, weighed as SUPERB does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.release.ssl_folder import load_encoder, packaged_encoder
from wavcube.representations.base import (
    Representation,
    mark_as_packaged,
    never_tuned,
    packaged_folder,
)

ENCODERS: Mapping[str, Callable[[], Path]] = {"encoder": packaged_encoder}


class SSLRepresentation(Representation):
    """The softmax-weighted sum of an encoder's input embedding and of all its layers.

    Fine-tuning changes all of the encoder but its convolutions.

    Parameters
    ----------
    model : SSLEncoder
        With all of its layers.
    unfreeze_at : int, optional
        Number of the update, from 0, at which fine-tuning begins; by default never.
    lr : float, optional
        Learning rate of fine-tuning; needed with ``unfreeze_at``.

    Examples
    --------
    >>> from wavcube.testing import tiny_ssl_encoder
    >>> representation = SSLRepresentation(tiny_ssl_encoder())
    >>> representation.num_states
    3
    >>> representation(torch.randn(2, 1600))[0].shape
    torch.Size([2, 5, 16])
    """

    model: SSLEncoder

    def __init__(
        self, model: SSLEncoder, unfreeze_at: int | None = None, lr: float | None = None
    ) -> None:
        super().__init__(model, model.num_layers + 1, unfreeze_at, lr)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        unfreeze_at: int | None = None,
        lr: float | None = None,
    ) -> SSLRepresentation:
        """Load an encoder.

        Parameters
        ----------
        source : str or Path, optional
            Folder with config.json and model.safetensors, or a hub id; by default the small encoder
            that comes with the package.
        unfreeze_at : int, optional
            Number of the update, from 0, at which fine-tuning begins; by default never.
        lr : float, optional
            Learning rate of fine-tuning; needed with ``unfreeze_at``.

        Raises
        ------
        FileNotFoundError
            If the folder or a file of it is absent.
        ValueError
            If a weight is missing, unexpected or of another size.
        """
        if source is None and unfreeze_at is None:
            return PackagedSSL()
        encoder = load_encoder(packaged_encoder() if source is None else source)
        return cls(encoder, unfreeze_at, lr)

    def description(self) -> Mapping[str, Any]:
        """Return the encoder's own description."""
        return {"kind": "ssl", **self.model.config()}

    def compute(self, wavs: Tensor, samples: Tensor, frames: Tensor) -> Tensor:
        """Run all layers; see the base class."""
        return torch.stack(self.model(wavs, samples, frames).states, dim=1)

    def tuned(self, unfreeze_at: int, lr: float) -> SSLRepresentation:
        """Give the layers of the same encoder in the same mix; see the base class."""
        tuned = SSLRepresentation(self.model, unfreeze_at, lr)
        if tuned.mix is not None and self.mix is not None:
            tuned.mix.load_state_dict(self.mix.state_dict())
        return tuned

    def fine_tuned(self) -> list[nn.Parameter]:
        """List the parameters behind the convolutions; none if the encoder is frozen."""
        if self.is_frozen:
            return []
        left_out = never_tuned(self.model)
        return [p for p in self.model.parameters() if id(p) not in left_out]


class PackagedSSL(SSLRepresentation):
    """All layers of an encoder of the package, frozen; its weights are in no state, the mix is.

    Parameters
    ----------
    name : str
        Of the encoder; there is "encoder".
    model_hash : str, optional
        That the encoder must have.

    Raises
    ------
    ValueError
        If there is no such encoder, or it is another one.

    Examples
    --------
    >>> list(PackagedSSL().state_dict())
    ['mix.logits']
    """

    def __init__(self, name: str = "encoder", model_hash: str | None = None) -> None:
        super().__init__(load_encoder(packaged_folder(name, ENCODERS)))
        self.name = name
        mark_as_packaged(self, model_hash)
