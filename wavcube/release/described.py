"""A model as its release has it: plain data, the weights that belong to it, and their hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from wavcube.lobes.configurable import Configurable, describe
from wavcube.release.weights import model_hash

if TYPE_CHECKING:
    from wavcube.lobes.latent_codec import LatentCodec

SEMANTIC_DECODER = "bottleneck.semantic_decoder."


def release_config(model: Configurable) -> dict[str, Any]:
    """Describe a model as its release would: no semantic decoder, plain data.

    Parameters
    ----------
    model : Configurable
        Of the latent, or of a task.

    Returns
    -------
    dict
        For :func:`~wavcube.release.build.build`; equal to what config.json holds.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> release_config(tiny_wavcube())["class"]
    'WavCube'
    """
    config = describe(model)
    set_semantic_decoder(config, False)
    return config


def set_semantic_decoder(config: dict[str, Any], wanted: bool) -> None:
    """Say in a configuration whether the bottleneck, if there is one, has its semantic decoder."""
    if isinstance(config.get("bottleneck"), dict):  # an acoustic codec has none
        config["bottleneck"]["with_decoder"] = wanted


def release_hash(model: Configurable, state: Mapping[str, Tensor] | None = None) -> str:
    """Hash a model as its release does; see :func:`wavcube.release.weights.model_hash`.

    Parameters
    ----------
    model : Configurable
        Whose configuration counts.
    state : mapping of str to Tensor, optional
        Weights to hash in place of the model's own, where those were rounded since.
    """
    return model_hash(release_config(model), inference_state(model) if state is None else state)


def latent_hash(model: LatentCodec, state: Mapping[str, Tensor] | None = None) -> str:
    """Hash what makes a model's latents: two models of one hash have the same latents.

    Parameters
    ----------
    model : LatentCodec
        Its decoder does not count, so that latents outlive a decoder that was trained further.
    state : mapping of str to Tensor, optional
        See :func:`release_hash`.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> model = tiny_wavcube()
    >>> whole, latent = release_hash(model), latent_hash(model)
    >>> _ = next(model.decoder.parameters()).data.zero_()
    >>> release_hash(model) == whole, latent_hash(model) == latent
    (False, True)
    """
    config = {name: value for name, value in release_config(model).items() if name != "decoder"}
    return model_hash(config, _WithoutDecoder(inference_state(model) if state is None else state))


class _WithoutDecoder(Mapping[str, Tensor]):
    """A view that reads no weight before it is asked for."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self._names = [name for name in state if not name.startswith("decoder.")]

    def __getitem__(self, name: str) -> Tensor:
        return self._state[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def inference_state(model: Configurable) -> dict[str, Tensor]:
    """Give the weights that a release holds: all but the semantic decoder's."""
    state = model.state_dict()
    return {k: v for k, v in state.items() if not k.startswith(SEMANTIC_DECODER)}
