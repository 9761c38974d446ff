"""The networks of a run on the latent: fresh ones of the YAML, or those of a release."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from wavcube.latent.brain import Discriminators
from wavcube.lobes.latent_codec import LatentCodec
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.release.folder import load_for_training

PREFIX = "discriminators."


@dataclass
class LatentParts:
    """What the stages hand on to each other.

    Parameters
    ----------
    model : LatentCodec
        In training: a WavCube, or an AcousticCodec.
    discriminators : Discriminators
        Its discriminators.
    teacher : SSLEncoder, optional
        The SSL encoder as it was before any training here, frozen; an AcousticCodec has none.
    has_trained_discriminators : bool
        Whether the discriminators have learned anything yet.
    """

    model: LatentCodec
    discriminators: Discriminators
    teacher: SSLEncoder | None
    has_trained_discriminators: bool = False

    @classmethod
    def from_block(
        cls,
        block: Mapping[str, Any],
        pretrained: str | Path | None = None,
        reset_discriminators: bool = False,
    ) -> LatentParts:
        """Take the parts of a YAML's model block, or a release in place of its model.

        Parameters
        ----------
        block : Mapping
            With "lobe" (WavCube or AcousticCodec), "discriminators" (Discriminators) and, for a
            WavCube, "encoder" (SSLEncoder); "copy_layers" says whether the bottleneck's
            transformers start as copies of the encoder's first layers.
        pretrained : str or Path, optional
            A release with its training state. Its sizes replace the YAML's.
        reset_discriminators : bool
            Start the discriminators anew, although the release has them.

        Raises
        ------
        FileNotFoundError
            If there is no such release, or it has no training state.
        ValueError
            If the weights do not fit.

        Examples
        --------
        >>> from wavcube.testing import tiny_wavcube
        >>> lobe = tiny_wavcube()
        >>> parts = LatentParts.from_block(
        ...     {"lobe": lobe, "discriminators": Discriminators({}), "encoder": lobe.encoder})
        >>> parts.teacher is lobe.encoder
        False
        """
        teacher = copy.deepcopy(block.get("encoder"))
        if teacher is not None:
            teacher.eval().requires_grad_(False)
        model, discriminators, trained = block["lobe"], block["discriminators"], False
        if pretrained is None:
            if block.get("copy_layers", False):
                model.bottleneck.copy_layers_from(model.encoder.model.encoder.layers)
        else:
            kind = type(model)
            model, state = load_for_training(pretrained)
            if type(model) is not kind:
                raise ValueError(
                    f"{pretrained} holds a {type(model).__name__}, the configuration trains a "
                    f"{kind.__name__}: take the one that it was made with"
                )
            if teacher is not None:
                _check_kind(model.encoder, teacher, pretrained)
            if state and not reset_discriminators:
                _load_discriminators(discriminators, state, pretrained)
                trained = True
        return cls(model, discriminators, teacher, trained)

    def training_state(self) -> dict[str, Tensor]:
        """Give the discriminators' weights as a release keeps them; none of untrained ones."""
        if not self.has_trained_discriminators:
            return {}
        return {PREFIX + name: value for name, value in self.discriminators.state_dict().items()}


def _check_kind(encoder: SSLEncoder, teacher: SSLEncoder, source: str | Path) -> None:
    """Refuse a teacher whose feature means something else: another kind, size, layer or input."""
    kinds = []
    for each in (encoder, teacher):
        sizes = {name: tuple(value.shape) for name, value in each.state_dict().items()}
        kinds.append((type(each.model).__name__, each.layer, each.do_normalize, each.dim, sizes))
    if kinds[0] != kinds[1]:
        own, other = ("{} (layer {}, do_normalize {}, width {})".format(*kind) for kind in kinds)
        raise ValueError(
            f"the encoder of {source} is a {own}, the teacher a {other}: give the encoder that it "
            f"was made from (ssl_source, ssl_layer)"
        )


def _load_discriminators(
    discriminators: Discriminators, state: Mapping[str, Tensor], source: str | Path
) -> None:
    try:
        discriminators.load_state_dict({name.removeprefix(PREFIX): v for name, v in state.items()})
    except RuntimeError as error:
        raise ValueError(
            f"the discriminators of {source} are of other sizes than this configuration's: "
            f"set reset_discriminators to start them anew"
        ) from error
