"""`wavcube enhance`: noisy audio files to clean ones."""

from __future__ import annotations

import argparse

from wavcube.cli.jobs import add_file_command, plan, run_jobs
from wavcube.cli.model import load_model
from wavcube.utils.suffixes import AUDIO_SUFFIXES, WRITTEN_SUFFIXES


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the main parser.

    Parameters
    ----------
    commands : argparse action
        Of the main parser.
    """
    text = "noisy speech to clean speech, as wav files"
    add_file_command(commands, "enhance", _enhance, text, out_required=True)


def _enhance(options: argparse.Namespace) -> int:
    jobs = plan(options, AUDIO_SUFFIXES, WRITTEN_SUFFIXES)
    from wavcube.inference import WavCubeEnhancer

    model = load_model(options, WavCubeEnhancer)
    return run_jobs(jobs, lambda job: model.enhance_file(job.source, job.target, overwrite=True))
