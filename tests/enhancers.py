"""Small enhancers and pairs that the tests of enhancement share."""

import torch

from wavcube.data.audio import write_audio
from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.spectrogram import MaskHead
from wavcube.representations import LatentRepresentation, MelRepresentation, SSLRepresentation
from wavcube.tasks.enhancement.model import LatentEnhancer, MaskEnhancer
from wavcube.testing import tiny_ssl_encoder, tiny_wavcube, tone

RATE = 16000


def mask_enhancer(representation=None, **changes):
    own = MelRepresentation(num_mel_bins=8) if representation is None else representation
    sizes = {"hidden_dim": 6, "num_layers": 2, "dropout": 0.0, "hop": 160, **changes}
    return MaskEnhancer(own, MaskHead(own.dim, own.hop, **sizes))


def latent_enhancer(**settings):
    own = LatentRepresentation(tiny_wavcube(), **settings)
    return LatentEnhancer(own, LatentHead(own.dim, hidden_dim=6, num_layers=2, dropout=0.0))


def enhancers():
    torch.manual_seed(3)
    return {
        "mask on mel": mask_enhancer(),
        "mask on ssl": mask_enhancer(SSLRepresentation(tiny_ssl_encoder())),
        "mask on the latent": mask_enhancer(LatentRepresentation(tiny_wavcube()), hop=None),
        "mask with spectrum": mask_enhancer(with_spectrum=True),
        "latent": latent_enhancer(),
    }


def noisy_tone(seconds, seed):
    """A tone and the same with noise, `[T]` each."""
    clean = tone(seconds, seed)
    noise = torch.randn(len(clean), generator=torch.Generator().manual_seed(seed))
    return 0.5 * clean, 0.5 * clean + 0.05 * noise


def write_pairs_folder(folder, speakers=("p1", "p2", "p3", "p4"), each=2):
    """Folders `clean` and `noisy` as VoiceBank-DEMAND has them."""
    for number, speaker in enumerate(speakers):
        for index in range(each):
            clean, noisy = noisy_tone(0.8 + 0.1 * index, 10 * number + index)
            for kind, wav in (("clean", clean), ("noisy", noisy)):
                write_audio(folder / kind / f"{speaker}_{index:03d}.wav", wav, RATE)
    return folder
