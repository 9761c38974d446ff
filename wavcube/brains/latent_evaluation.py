"""How a run on the latent is evaluated: checked before it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from wavcube.brains.latent_card import describe_run
from wavcube.inspection import require_matplotlib
from wavcube.metrics.registry import select_metrics

COUNTS = ("valid_utterances", "test_utterances", "sample_clips", "scoring_processes")


def check_evaluation(hparams: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse what would end the evaluation, hours later, of a run that has been trained.

    Parameters
    ----------
    hparams : Mapping
        Of the recipe.
    model : nn.Module
        The lobe, which the release's card describes.

    Raises
    ------
    ValueError
        If a metric or an entry of the card is unknown, a count is below 1, or matplotlib, which
        draws the samples, is not installed.
    """
    select_metrics(hparams["metrics"])
    for key in COUNTS:
        if hparams[key] < 1:
            raise ValueError(f"{key} is {hparams[key]}: give 1 or more")
    describe_run(model, hparams, {})
    require_matplotlib()
