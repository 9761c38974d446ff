"""Speech from the log-mel energies that the front end sees, without any training.

Griffin and Lim, "Signal estimation from modified short-time Fourier transform" (1984), with the
momentum of Perraudin et al. (2013), as torchaudio has it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.transforms import GriffinLim, InverseMelScale

from wavcube.lobes.ssl.filterbank_wavlm import LogMelFrontEnd

ITERATIONS = 100
# silent frames on both sides, more than a window reaches
MARGIN = 3


@torch.no_grad()
def griffin_lim(
    wav: Tensor, sample_rate: int, num_mel_bins: int = 100, iterations: int = ITERATIONS
) -> Tensor:
    """Keep the log-mel energies of a waveform `[T]` only, and make one of `[T]` from them.

    Examples
    --------
    >>> from wavcube.testing import tone
    >>> griffin_lim(tone(0.1), 16000, iterations=2).shape
    torch.Size([1600])
    """
    front_end = LogMelFrontEnd(num_mel_bins, stacked_frames=1, sample_rate=sample_rate)
    hop, size = front_end.hop, front_end.n_fft
    # the front end's frames are centred in their hops, torchaudio's on the multiples of the hop
    before = MARGIN * hop + hop // 2
    frames = 2 * MARGIN + 1 - (-len(wav) // hop)
    energies = front_end(F.pad(wav, (before, frames * hop - before - len(wav)))[None])[0]
    mel = torch.exp(energies * front_end.SPREAD + front_end.CENTRE)
    spectrum = InverseMelScale(size // 2 + 1, num_mel_bins, sample_rate)(mel.T)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the phases begin at random
        inverse = GriffinLim(size, iterations, front_end.window_size, hop, power=1.0)
        copy = inverse(spectrum)
    return copy[MARGIN * hop :][: len(wav)]
