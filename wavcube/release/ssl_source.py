"""Where an SSL encoder comes from: a folder, the hub if it is named, or random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wavcube.lobes.ssl.encoder import SSLEncoder


def open_encoder(
    source: str | Path | None,
    layer: int = -1,
    random: bool = False,
    config: Mapping[str, Any] | None = None,
) -> SSLEncoder:
    """Open the SSL encoder that was asked for; without a source nothing is downloaded.

    Parameters
    ----------
    source : str or Path, optional
        Folder, or hub id of the form owner/name, whose files are then fetched.
    layer : int
        See :class:`~wavcube.lobes.ssl.encoder.SSLEncoder`.
    random : bool
        Build one with random weights instead, of the sizes in `config`.
    config : Mapping, optional
        transformers' configuration as plain data, with its `model_type`.

    Returns
    -------
    SSLEncoder
        The encoder.

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file, or the hub cannot be reached.
    ValueError
        If there is neither a source nor a wish for random weights, or there are both; or if the
        files are broken.

    Examples
    --------
    >>> from wavcube.testing import tiny_ssl_config
    >>> open_encoder(None, random=True, config=tiny_ssl_config()).dim
    16
    >>> open_encoder(None)
    Traceback (most recent call last):
    ...
    ValueError: no SSL encoder: give --ssl_source FOLDER, or --ssl_source OWNER/NAME such as \
microsoft/wavlm-large to download it from the Hugging Face hub; --random_ssl true builds it with \
random weights, for a dry run
    """
    if random and source is not None:
        raise ValueError(f"ssl_source={source} and random_ssl exclude each other: give one")
    if random:
        return SSLEncoder(config or {}, layer)
    if source is None:
        raise ValueError(
            "no SSL encoder: give --ssl_source FOLDER, or --ssl_source OWNER/NAME such as "
            "microsoft/wavlm-large to download it from the Hugging Face hub; --random_ssl true "
            "builds it with random weights, for a dry run"
        )
    return SSLEncoder.from_pretrained(source, layer)
