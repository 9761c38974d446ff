"""Fit a latent's coordinates to speech, once training is over."""

from __future__ import annotations

import torch
from tqdm import tqdm

from wavcube.data.crops import SpeechDataset, utterance_dataset
from wavcube.data.manifest import evenly_spaced
from wavcube.data.segments import Segments
from wavcube.data.segments.collection import JoinedSegments
from wavcube.data.segments.crops import SegmentCrops
from wavcube.experiment.speech import Speech
from wavcube.lobes.wavcube import WavCube

LONGEST = 10.0  # seconds of an utterance that are read, from its middle


@torch.no_grad()
def fit_latent_basis(
    model: WavCube,
    utterances: SpeechDataset,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> None:
    """Give a model's latent the coordinates that its SSL feature asks for.

    What it decodes to does not change; see :class:`~wavcube.lobes.bottleneck.LatentBasis`.

    Parameters
    ----------
    model : WavCube
        Trained, with a latent basis.
    utterances : SpeechDataset
        Items with "wav" `[T]`: some minutes of the speech that it was trained on. Too little makes
        poor coordinates, but loses nothing.
    device : str or torch.device
        Where to compute; the model is moved there.
    progress : bool
        Show a bar.

    Raises
    ------
    ValueError
        If the model has no basis, or its latents are not finite or all the same.
    """
    basis = model.latent_basis
    if basis is None:
        raise ValueError("this model has no latent_basis to fit")
    model = model.to(device).eval()
    size, dim, longest = model.latent_dim, model.encoder.dim, round(LONGEST * model.sample_rate)
    frames, sums = 0, torch.zeros(size + dim, dtype=torch.float64)
    products = torch.zeros(size, size + dim, dtype=torch.float64)
    bar = tqdm(range(len(utterances)), desc="latent basis", unit="clip", disable=not progress)
    for index in bar:
        wav = utterances[index]["wav"]
        start = max(0, (len(wav) - longest) // 2)
        features = model.features(wav[start : start + longest].to(device)[None])
        latents = model.latents_before_basis(features)[0].cpu().double()
        both = torch.cat([latents, features.feature[0].cpu().double()], dim=1)
        frames, sums = frames + len(both), sums + both.sum(0)
        products += latents.T @ both
    mean = sums / frames
    covariance = products / frames - torch.outer(mean[:size], mean)
    basis.fit(mean[:size], covariance[:, :size], covariance[:, size:])


def sample_of(rows: Speech, count: int, sample_rate: int, seed: int) -> SpeechDataset:
    """Take some of the speech: utterances at even distances, of large manifests random crops.

    Parameters
    ----------
    rows : Speech
        To take from.
    count : int
        How many at most.
    sample_rate : int
        In Hz.
    seed : int
        Draws crops.

    Returns
    -------
    SpeechDataset
        Items with "wav" `[T]`.
    """
    if not isinstance(rows, (Segments, JoinedSegments)):
        return utterance_dataset(evenly_spaced(rows, count), sample_rate)
    return SegmentCrops(
        rows,
        crop_seconds=LONGEST,
        crops_per_epoch=count,
        sample_rate=sample_rate,
        seed=seed,
        max_bad_fraction=1.0,
    )
