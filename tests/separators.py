"""Small separators and mixtures that the tests of separation share."""

import torch

from wavcube.data.audio import write_audio
from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.spectrogram import MaskHead
from wavcube.representations import (
    LatentRepresentation,
    MelRepresentation,
    SSLRepresentation,
    WaveformRepresentation,
)
from wavcube.tasks.separation.conv_tasnet import ConvTasNetHead
from wavcube.tasks.separation.model import LatentSeparator, MaskSeparator, WaveformSeparator
from wavcube.testing import tiny_ssl_encoder, tiny_wavcube, tone

RATE = 16000


def mask_separator(representation, **changes):
    sizes = {"num_sources": 2, "hidden_dim": 6, "num_layers": 2, "dropout": 0.0, **changes}
    return MaskSeparator(representation, MaskHead(representation.dim, representation.hop, **sizes))


def separators():
    torch.manual_seed(3)
    sizes = {"bottleneck_dim": 4, "hidden_dim": 8, "num_blocks": 2, "num_repeats": 1}
    return {
        "mask": mask_separator(SSLRepresentation(tiny_ssl_encoder())),
        "mask with spectrum": mask_separator(
            MelRepresentation(num_mel_bins=4), n_fft=1024, with_spectrum=True
        ),
        "latent": LatentSeparator(
            LatentRepresentation(tiny_wavcube()), LatentHead(8, 2, hidden_dim=6, num_layers=2)
        ),
        "waveform": WaveformSeparator(
            WaveformRepresentation(8000), ConvTasNetHead(2, 8, 32, **sizes)
        ),
    }


def latent_separator(**settings):
    own = LatentRepresentation(tiny_wavcube(), **settings)
    return LatentSeparator(own, LatentHead(own.dim, 2, hidden_dim=6, num_layers=2, dropout=0.0))


def two_tones(seconds, seed):
    """A mixture `[T]` of two tones, and the tones `[T, 2]`."""
    sources = torch.stack([0.5 * tone(seconds, seed + extra) for extra in (0, 100)], dim=1)
    return sources.sum(1), sources


def write_speech(folder, splits=(("train", 4), ("dev", 2), ("test", 2)), each=2):
    """A corpus in LibriSpeech's layout: speakers that glide differently."""
    number = 0
    for split, speakers in splits:
        for _ in range(speakers):
            number += 1
            for index in range(each):
                path = folder / f"{split}-clean" / str(number) / "1" / f"{number}-1-{index:04d}.wav"
                write_audio(path, 0.3 * tone(1.1 + 0.1 * index, 10 * number + index), RATE)
    return folder
