"""Representations that workers load by name, for the tests of extraction."""

import os
import signal
from pathlib import Path

import torch

from wavcube.representations import LatentRepresentation, MelRepresentation
from wavcube.testing import tiny_wavcube


def tiny_latent(seed=0):
    """The latent of random weights that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LatentRepresentation(tiny_wavcube())


class Fatal(MelRepresentation):
    """Ends its process, once for each marker file, by a clip of the fatal length."""

    FATAL = 4321

    def __init__(self, markers):
        super().__init__(4)
        self.markers = Path(markers)

    def compute(self, wavs, samples, frames):
        if self.FATAL in samples.tolist():
            for marker in self.markers.glob("kill-*"):
                marker.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().compute(wavs, samples, frames)


class Loud(MelRepresentation):
    """Gives values that float16 cannot hold for loud clips, and NaN for silent ones."""

    def __init__(self):
        super().__init__(4)

    def compute(self, wavs, samples, frames):
        states = super().compute(wavs, samples, frames)
        peaks = wavs.abs().amax(dim=1)[:, None, None, None]
        return torch.where(peaks > 0.8, 1e6, torch.where(peaks > 0, states, torch.nan))
