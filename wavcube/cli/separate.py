"""`wavcube separate`: mixtures of speakers to a file for each speaker."""

from __future__ import annotations

import argparse

from wavcube.cli.files import check_output
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
    text = "mixtures of speakers to one wav file for each: name_1.wav, name_2.wav"
    add_file_command(commands, "separate", _separate, text, out_required=True)


def _separate(options: argparse.Namespace) -> int:
    jobs = plan(options, AUDIO_SUFFIXES, WRITTEN_SUFFIXES)
    from wavcube.inference import WavCubeSeparator
    from wavcube.tasks.separation.inference import source_files

    model, overwrite = load_model(options, WavCubeSeparator), options.overwrite
    for job in jobs:
        for path in source_files(job.target, model.num_sources):
            check_output(path, overwrite)
    return run_jobs(jobs, lambda j: model.separate_file(j.source, j.target, overwrite=overwrite))
