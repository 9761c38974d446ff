"""Time averages of representations, for linear probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample
from torchaudio.transforms import MFCC
from tqdm import tqdm

from wavcube import WavCube
from wavcube.lobes.bottleneck import LatentBasis
from wavcube.lobes.lengths import ceil_division, length_mask
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.lobes.ssl.filterbank_wavlm import LogMelFrontEnd
from wavcube.lobes.wavcube import WavCube as LobeWavCube

BATCH = 50
NARROW_BAND = 8000  # FSDD's own rate: above 4 kHz there is nothing for MFCC to see
MFCC_COEFFICIENTS, MFCC_HOP = 13, 80

# from waveforms [B, T] and their samples [B] to frames [B, N, C] and their counts [B]
Frames = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def ssl_frames(encoder: SSLEncoder) -> Frames:
    """Frames of an SSL encoder's chosen layer."""
    encoder.eval()

    def frames(wavs: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        features = encoder(wavs, samples)
        return features.feature, features.num_frames

    return frames


def latent_frames(model: WavCube) -> Frames:
    """Latents of a release."""

    def frames(wavs: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        latents, lens = model.encode_batch(wavs, samples / wavs.shape[1])
        return latents.cpu(), (lens.cpu() * latents.shape[1]).round().long()

    return frames


def restored_frames(model: LobeWavCube) -> Frames:
    """SSL feature that a model's semantic decoder restores from its latent."""
    model.eval()

    def frames(wavs: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        latents, lens = model.encode(wavs, samples / wavs.shape[1])
        return model.semantic(latents, lens), (lens * latents.shape[1]).round().long()

    return frames


def turned_frames(frames: Frames, encoder: SSLEncoder, speech: Sequence[Tensor]) -> Frames:
    """Frames of another representation, whitened and turned towards the SSL feature.

    As WavCube's own latent is when its training is over; fitted on speech `[T]` without labels.
    """
    given, features = _together(frames, ssl_frames(encoder), speech)
    mean, feature_mean = given.mean(0), features.mean(0)
    basis = LatentBasis(given.shape[1])
    cross = (given - mean).T @ (features - feature_mean) / len(given)
    basis.fit(mean, torch.cov(given.T, correction=0), cross)

    def turned(wavs: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        values, counts = frames(wavs, samples)
        return basis(values), counts

    return turned


@torch.no_grad()
def _together(first: Frames, second: Frames, speech: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Frames `[N, C]` of two representations of one frame rate, of all the speech."""
    pairs = []
    for wav in speech:
        samples = torch.tensor([len(wav)])
        pairs.append([frames(wav[None], samples)[0][0].double() for frames in (first, second)])
    return torch.cat([one for one, _ in pairs]), torch.cat([other for _, other in pairs])


def log_mel_frames(front_end: LogMelFrontEnd) -> Frames:
    """Log-mel energies, one frame each 10 ms."""

    def frames(wavs: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        wavs = torch.nn.functional.pad(wavs, (0, -wavs.shape[1] % front_end.hop))
        return front_end(wavs), ceil_division(samples, front_end.hop)

    return frames


@torch.no_grad()
def pooled(frames: Frames, wavs: Sequence[Tensor], progress: bool = True) -> np.ndarray:
    """Average the frames of each waveform `[T]` over time: `[items, C]`."""
    averages: list[np.ndarray | None] = [None] * len(wavs)
    # sorted by length: little padding
    order = np.argsort([len(wav) for wav in wavs], kind="stable").tolist()
    starts = range(0, len(order), BATCH)
    for start in tqdm(starts, desc="encoding", unit="batch", disable=not progress):
        rows = order[start : start + BATCH]
        samples = torch.tensor([len(wavs[row]) for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence([wavs[row] for row in rows], batch_first=True)
        values, counts = frames(padded, samples)
        values = values.masked_fill(~length_mask(counts, values.shape[1])[..., None], 0.0)
        for row, mean in zip(rows, (values.sum(1) / counts[:, None]).numpy(), strict=True):
            averages[row] = mean
    return np.stack(averages)


def mfcc_statistics(wavs: Sequence[Tensor], sample_rate: int) -> np.ndarray:
    """Mean and deviation of 13 cepstra at the recordings' own band: `[items, 26]`."""
    options = {"n_fft": 256, "win_length": 200, "hop_length": MFCC_HOP, "n_mels": 40}
    mfcc = MFCC(NARROW_BAND, MFCC_COEFFICIENTS, melkwargs=options)
    cepstra = [mfcc(resample(wav, sample_rate, NARROW_BAND)) for wav in wavs]
    return torch.stack([torch.cat([c.mean(1), c.std(1)]) for c in cepstra]).numpy()
