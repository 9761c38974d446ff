"""Train WavCube's latent in stages, evaluate each, and write a folder that loads.

    python recipes/LibriSpeech/train.py hparams/wavcube.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train.py hparams/acoustic_codec.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train.py hparams/wavcube.yaml --pretrained RELEASE --data_folder ...

The data are LibriSpeech, any folder of wav and flac files, a CSV with the column "wav", or a
manifest of any size (JSON lines, a folder of tar shards); without a data folder the package speaks
a corpus itself. The same command again resumes a run that was interrupted, and evaluates one that
was finished. Each stage but the last leaves a folder that loads too.
"""

import sys
import time
from functools import partial

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml

from wavcube.data.corpora.librispeech import prepare
from wavcube.data.segments.bad import UnreadableError
from wavcube.experiment.command_line import parse_arguments
from wavcube.experiment.speech import prepare_rows
from wavcube.experiment.usage import interruptible, nothing_left_of, own_folder, usage_errors
from wavcube.latent.brain import LatentBrain
from wavcube.latent.parts import LatentParts
from wavcube.latent.run import LatentRun
from wavcube.training.ranks import join_group, main_first
from wavcube.training.schedules import ResumeError

refuse = partial(usage_errors, "train.py")


def main(arguments):
    """Read the arguments and the YAML, and run."""
    with interruptible("train.py"), refuse():
        hparams_file, run_opts, overrides = parse_arguments(arguments, __doc__)
        with open(hparams_file, encoding="utf-8") as file:
            hparams = load_hyperpyyaml(file, overrides)
    folder = hparams["output_folder"]
    with interruptible("train.py", folder), own_folder("train.py", folder):
        train(hparams, run_opts, hparams_file, overrides)


def train(hparams, run_opts, hparams_file, overrides):
    """Prepare, train, evaluate, export."""
    started, release = time.monotonic(), hparams["pretrained"]
    with refuse():
        parts = LatentParts.from_block(hparams["model"], release, hparams["reset_discriminators"])
        with nothing_left_of(hparams["output_folder"]), main_first():
            run = LatentRun(parts, prepare_rows(hparams, prepare, large=True), hparams, run_opts)
        join_group(run_opts)
        sb.create_experiment_directory(hparams["output_folder"], hparams_file, overrides)
        run.begin()
    for stage in run.stages:
        with refuse():
            crops, valid = run.datasets(stage)
            brain = LatentBrain(parts.model, hparams[stage], **run.brain_options(stage))
        with refuse(kinds=(ResumeError, UnreadableError)):
            brain.fit(brain.epochs, crops, valid, None, run.loader_options(stage, crops))
        with refuse():
            brain.load_best()
            run.evaluate(stage, brain)
    with refuse():
        run.finish(started)


if __name__ == "__main__":
    main(sys.argv[1:])
