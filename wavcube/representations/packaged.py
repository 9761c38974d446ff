"""Representations of the models that come with the package, which a release names, not stores.

Many heads share one front end: its weights are installed once and stand in none of their releases,
where a name and a hash say which model it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from wavcube.release.source import packaged_model
from wavcube.release.ssl_folder import load_encoder, packaged_encoder
from wavcube.representations.base import Representation
from wavcube.representations.latent import LatentRepresentation
from wavcube.representations.ssl import SSLRepresentation

LATENTS: Mapping[str, Callable[[], Path]] = {"wavcube_tiny": packaged_model}
ENCODERS: Mapping[str, Callable[[], Path]] = {"encoder": packaged_encoder}


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
        from wavcube.release.folder import load_release

        super().__init__(load_release(_folder(name, LATENTS)))
        self.name = name
        _leave_weights_out(self)
        self.record(model_hash=_checked_hash(self, model_hash))


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
        super().__init__(load_encoder(_folder(name, ENCODERS)))
        self.name = name
        _leave_weights_out(self)
        self.record(model_hash=_checked_hash(self, model_hash))


def _folder(name: str, known: Mapping[str, Callable[[], Path]]) -> Path:
    # a release's text must not choose a folder of this machine
    if name not in known:
        raise ValueError(f"the package has no model {name!r}; there is {sorted(known)}")
    return known[name]()


def _checked_hash(representation: Representation, wanted: str | None) -> str:
    found = representation.model_hash
    if wanted is not None and found != wanted:
        raise ValueError(
            f"made for model {wanted[:12]}, and the package's {representation.name} is "
            f"{found[:12]}: install the version of wavcube that it was made with, or train it again"
        )
    return found


def _leave_weights_out(representation: Representation) -> None:
    """Keep the model's weights out of states that are saved, and do not ask for them."""

    def drop(module: Representation, state: dict[str, Tensor], prefix: str, _: object) -> None:
        del module
        for key in [key for key in state if key.startswith(f"{prefix}model.")]:
            del state[key]

    def supply(module: Representation, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        own = module.model.state_dict()
        state.update({f"{prefix}model.{key}": value for key, value in own.items()})

    representation.register_state_dict_post_hook(drop)
    representation.register_load_state_dict_pre_hook(supply)
