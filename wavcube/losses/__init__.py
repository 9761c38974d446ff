"""Training criteria of WavCube, one idea per file.

Every term is a plain function or module that returns a scalar; a Brain collects the terms of a
step in a dict and :func:`weighted_sum` adds them with the weights of the YAML, whose names must be
the same.
"""

from __future__ import annotations

from wavcube.losses.adversarial import discriminator_hinge, feature_matching, generator_hinge
from wavcube.losses.combine import weighted_sum
from wavcube.losses.mel import LogMelSpectrogram, MelLoss, MultiScaleMelLoss
from wavcube.losses.regularizers import kl_divergence
from wavcube.losses.semantic import semantic_loss
from wavcube.losses.separation import permutation_invariant, phase_sensitive_loss

__all__ = [
    "LogMelSpectrogram",
    "MelLoss",
    "MultiScaleMelLoss",
    "discriminator_hinge",
    "feature_matching",
    "generator_hinge",
    "kl_divergence",
    "permutation_invariant",
    "phase_sensitive_loss",
    "semantic_loss",
    "weighted_sum",
]
