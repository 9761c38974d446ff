"""Whether a head fits the representation that it is put on: of enhancers and separators."""

from __future__ import annotations

from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.mask_head import MaskHead
from wavcube.representations.base import Representation
from wavcube.representations.latent import LatentRepresentation


def check_mask_head(representation: Representation, head: MaskHead) -> None:
    """Refuse a mask head for other features.

    Parameters
    ----------
    representation : Representation
        Any.
    head : MaskHead
        To be put on it.

    Raises
    ------
    ValueError
        If width or hop differ.

    Examples
    --------
    >>> from wavcube.representations import MelRepresentation
    >>> check_mask_head(MelRepresentation(num_mel_bins=4), MaskHead(9, stride=320, hidden_dim=4))
    Traceback (most recent call last):
    ...
    ValueError: the head takes features of width 9 every 320 samples, the representation ...
    """
    wanted, given = (head.input_dim, head.stride), (representation.dim, representation.hop)
    if wanted != given:
        raise ValueError(
            f"the head takes features of width {wanted[0]} every {wanted[1]} samples, the "
            f"representation gives width {given[0]} every {given[1]}"
        )


def check_latent_head(representation: Representation, head: LatentHead) -> None:
    """Refuse a latent head where nothing can speak its latents, or for latents of another width.

    Parameters
    ----------
    representation : Representation
        To be one with a decoder.
    head : LatentHead
        To be put on it.

    Raises
    ------
    ValueError
        If the representation has no decoder, or the widths differ.

    Examples
    --------
    >>> from wavcube.representations import MelRepresentation
    >>> check_latent_head(MelRepresentation(num_mel_bins=4), LatentHead(8, hidden_dim=4))
    Traceback (most recent call last):
    ...
    ValueError: a clean latent is estimated only where a decoder can speak it: take the ...
    """
    if not isinstance(representation, LatentRepresentation):
        raise ValueError(
            "a clean latent is estimated only where a decoder can speak it: take the "
            f"representation wavcube, not {type(representation).__name__}, or a mask head"
        )
    if head.latent_dim != representation.dim:
        raise ValueError(
            f"the head maps latents of width {head.latent_dim}, the representation gives "
            f"width {representation.dim}"
        )
