"""Audio inside a page: clips as data URIs, up to a limit on their total size."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from wavcube.data.audio import inspect_audio, read_audio
from wavcube.metrics.folders import audio_files

# Browsers open a page of this size in a second or two; it is some 100 pairs of 10 s at 16 kHz.
AUDIO_LIMIT = 50_000_000


@dataclass
class Players:
    """What a page can play.

    Parameters
    ----------
    limit : int
        Bytes that all data URIs together may take.
    sources : dict of str to list
        By clip: the data URIs of the reference and of the generated signal, None for one that
        cannot be read (its row says why).
    left_out : list of str
        Clips for which the limit left no room.
    """

    limit: int = AUDIO_LIMIT
    sources: dict[str, list[str | None]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def embed_players(
    reference_dir: str | Path,
    generated_dir: str | Path,
    names: Sequence[str],
    limit: int = AUDIO_LIMIT,
) -> Players:
    """Embed clips and their references until the limit is reached.

    The clips that find room are spread over the whole list, not its beginning: a clip too long for
    what is left is passed over, and the search goes on.

    Parameters
    ----------
    reference_dir, generated_dir : str or Path
        Folders that were evaluated.
    names : Sequence of str
        Clips to embed: relative names without suffix.
    limit : int
        Bytes that all data URIs together may take; with 0 no file is read.

    Returns
    -------
    Players
        Data URIs of 16-bit FLAC, mono, each at its own rate.
    """
    players = Players(limit)
    references, generated = audio_files(reference_dir), audio_files(generated_dir)
    room = limit
    # counting with reversed bits: any number of first steps is spread evenly over the list
    for index in sorted(range(len(names)), key=lambda i: f"{i:032b}"[::-1]):
        name = names[index]
        pair = [_data_uri(files.get(name)) for files in (references, generated)] if limit else []
        size = sum(len(uri) for uri in pair if uri is not None)
        if limit and size <= room:
            players.sources[name] = pair
            room -= size
        else:
            players.left_out.append(name)
    players.left_out.sort()
    return players


def _data_uri(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        rate = inspect_audio(path).sample_rate
        samples = read_audio(path, rate).numpy()
        stream = io.BytesIO()
        soundfile.write(stream, samples, rate, format="FLAC", subtype="PCM_16")
    except (OSError, ValueError, soundfile.LibsndfileError):
        # scoring met the same file and told the reason; FLAC has no rates above 655 kHz
        return None
    return f"data:audio/flac;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
