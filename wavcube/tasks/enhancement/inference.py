"""Enhancement for users: `WavCubeEnhancer.from_hparams(source=FOLDER).enhance_file(FILE, OUT)`."""

from __future__ import annotations

from wavcube.tasks.enhancement import VERB
from wavcube.tasks.enhancement.model import Enhancer
from wavcube.tasks.inference import Released


class WavCubeEnhancer(Released):
    """An enhancer of a release: noisy speech to clean speech.

    Silence stays silence with a mask; the level of the speech is kept about as it was.

    Examples
    --------
    >>> import torch
    >>> from wavcube.tasks.enhancement.model import MaskEnhancer
    >>> from wavcube.lobes.layers.spectrogram import MaskHead
    >>> from wavcube.representations import MelRepresentation
    >>> model = MaskEnhancer(MelRepresentation(), MaskHead(160, 320, hidden_dim=4, num_layers=1))
    >>> enhancer = WavCubeEnhancer({"model": model}, run_opts={"device": "cpu"})
    >>> enhancer.enhance_batch(torch.randn(2, 1000), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 1000])
    """

    MODEL = Enhancer
    PACKAGED = VERB.packaged
    verb = VERB

    enhance_batch, enhance_file = Released.predict_batch, Released.predict_file
