"""Rows of the table of speed: what windows, chunks and streams change in the result."""

from __future__ import annotations

import torch

from benchmarks.speed_models import Size, paper_wavcube
from benchmarks.speed_rows import Row, relative_error
from wavcube.inference import WavCube
from wavcube.testing import tone


def windows(size: Size, repeats: int) -> list[Row]:
    """Compare recordings in pieces with the whole; each error is relative to the whole's norm.

    The weights are random: only the chunks within what the decoder remembers have a limit.
    """
    del repeats
    model = WavCube({"wavcube": paper_wavcube(size)}, run_opts={"device": "cpu"})
    lasting = (20, 60, 120) if size == "paper" else (2, 4, 6)
    latents = {seconds: torch.randn(1, seconds * 50, model.latent_dim) for seconds in lasting}
    whole = {seconds: model.decode_batch(given) for seconds, given in latents.items()}
    short, middle, long = lasting

    def chunked(seconds: int) -> float:
        return relative_error(model.decode_long(latents[seconds]), whole[seconds])

    stream = model.decoder_stream()
    streamed = torch.cat([stream.push(latents[short]), stream.flush()], dim=1)
    wav = tone(long)
    encoded = model.encode_batch(wav)[0]
    chunk = long / 3
    errors = {
        f"{context:g} s of context": relative_error(
            model.encode_long(wav, chunk_seconds=chunk, context_seconds=context), encoded
        )
        for context in (chunk / 8, chunk / 4, chunk / 2)
    }
    return [
        Row(f"decode {middle} s in chunks, error", {}, chunked(middle), 1e-3),
        Row(f"decode {long} s in chunks, error", {}, chunked(long)),
        Row(f"decode {short} s by a stream, error", {}, relative_error(streamed, whole[short])),
        Row(f"encode {long} s in windows of {chunk:g} s, error", errors, min(errors.values())),
    ]
