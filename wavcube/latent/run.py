"""A run that trains the latent: what its stages hand on to each other and leave behind."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain.utils.distributed import infer_device
from torch import Tensor

from wavcube.data.corpora.librispeech import prepare
from wavcube.data.crops import utterance_dataset
from wavcube.data.manifest import describe_split
from wavcube.experiment import report as latent_report
from wavcube.experiment.card import describe_run
from wavcube.experiment.report import check_evaluation, choose_rows, count_longer
from wavcube.experiment.run import Run, Training
from wavcube.experiment.speech import Speech, crops_of, prepare_rows
from wavcube.latent.brain import LatentBrain
from wavcube.latent.coordinates import fit_latent_basis, sample_of
from wavcube.latent.parts import LatentParts
from wavcube.latent.settings import DecoderSettings
from wavcube.lobes.wavcube import WavCube
from wavcube.metrics import Summary, format_table
from wavcube.release.folder import write_release
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.distributed import (
    global_batch_size,
    is_main,
    leave_group,
    print_main,
    run_on_main,
)
from wavcube.training.run_logger import RunLogger

logger = logging.getLogger(__name__)

AS_RELEASED = "as released"
BASIS_UTTERANCES = 60


class LatentRun(Run):
    """Training of a WavCube, or of an acoustic codec, in the stages that the YAML names.

    Every stage but the last leaves a folder that loads too. A run that begins with a release scores
    it as it came, and makes the stages of `fine_tune_stages`.

    Attributes
    ----------
    parts : LatentParts
        What trains; each stage goes on with what the one before has left.
    rows : dict of str to Speech
        "train", "valid" and "test"; the last two are lists of Utterance.
    """

    parts: LatentParts
    rows: dict[str, Speech]

    def prepare(self) -> None:
        """Find the parts, and what is evaluated.

        Raises
        ------
        ValueError
            If no utterance is long enough to be scored or short enough to be computed, or a setting
            is one with which the evaluation would fail.
        """
        hparams = self.hparams
        self.parts = LatentParts.from_block(
            hparams["model"], hparams["pretrained"], hparams["reset_discriminators"]
        )
        self.choose(prepare_rows(hparams, prepare, large=True))

    def choose(self, rows: dict[str, Speech]) -> None:
        """Choose what validation and test take of the rows, and check how they are evaluated.

        Parameters
        ----------
        rows : dict of str to Speech
            Of all parts.
        """
        hparams = self.hparams
        check_evaluation(hparams, self.parts.model)
        shortest, longest = hparams["shortest_test"], hparams["longest_test"]
        valid, test = hparams["valid_utterances"], hparams["test_utterances"]
        self.rows = rows
        self.valid_rows = choose_rows(rows["valid"], "valid", valid, 0.0, longest)
        self.test_rows = choose_rows(rows["test"], "test", test, shortest, longest)
        self.test = utterance_dataset(self.test_rows, self.parts.model.sample_rate)
        self.copies: dict[str, latent_report.Resynthesis] = {}
        self.facts: dict[str, Any] = {"seed": hparams["seed"], "command": sys.argv, "stages": {}}

    @property
    def is_fine_tuning(self) -> bool:
        """Whether it begins with a release's weights."""
        return self.hparams["pretrained"] is not None

    def stages(self) -> list[str]:
        """Give the stages of the YAML."""
        return self.hparams["fine_tune_stages" if self.is_fine_tuning else "stages"]

    def begin(self) -> None:
        """Say how much speech there is, and evaluate a release as it came."""
        parts = {"train": self.rows["train"], "valid": self.valid_rows, "test": self.test_rows}
        print_main(describe_split(parts) + self._left_out())
        if self.is_fine_tuning:
            device = self.run_opts["device"] or infer_device()
            run_on_main(lambda: self._resynthesize(AS_RELEASED, device))

    def plan(self, stage: str) -> Training:
        """Build a stage's Brain and its data; each stage draws its own crops.

        Parameters
        ----------
        stage : str
            Names the folder of its checkpoints.

        Raises
        ------
        ValueError
            If there is no speech, or the sizes are out of range.
        """
        hparams, parts, folder = self.hparams, self.parts, self.folder
        crops = crops_of(
            self.rows["train"],
            crop_seconds=hparams["crop_seconds"],
            crops_per_epoch=hparams["validate_every"] * global_batch_size(self.batch_size(stage)),
            sample_rate=parts.model.sample_rate,
            seed=hparams["seed"] + self.stages().index(stage),
            max_bad_fraction=hparams["max_bad_fraction"],
        )
        brain = LatentBrain(
            parts.model,
            hparams[stage],
            discriminators=parts.discriminators,
            teacher=parts.teacher,
            mel_loss=hparams["mel_loss"],
            opt_class=hparams["optimizer"],
            hparams=hparams,
            run_opts=self.run_opts,
            checkpointer=AtomicCheckpointer(folder / stage / "save"),
            journal=RunLogger(folder / "train_log.txt", folder / stage / "tensorboard"),
        )
        loader = {
            "batch_size": self.batch_size(stage),
            "num_workers": hparams["num_workers"],
            "collate_fn": crops.collate,
        }
        valid = utterance_dataset(self.valid_rows, parts.model.sample_rate)
        return Training(brain, crops, valid, loader, {})

    def batch_size(self, stage: str) -> int:
        """Give a process's crops of an update: the stage's own number, otherwise the recipe's.

        Parameters
        ----------
        stage : str
            Of `stages`.
        """
        own = self.hparams[stage].batch_size
        return self.hparams["batch_size"] if own is None else own

    def end_stage(self, stage: str, brain: LatentBrain) -> None:
        """Release what a stage has made, and resynthesize the test set with it.

        The release comes first: it is there whatever becomes of the evaluation.

        Parameters
        ----------
        stage : str
            Of `stages`.
        brain : LatentBrain
            Its Brain, with the best weights loaded.
        """
        brain.end_training()
        self.parts.has_trained_discriminators |= brain.settings.is_adversarial
        run_on_main(lambda: self._evaluate(stage, brain))

    def _evaluate(self, stage: str, brain: LatentBrain) -> None:
        later = self.stages()[self.stages().index(stage) + 1 :]
        if all(isinstance(self.hparams[name], DecoderSettings) for name in later):
            self._choose_coordinates(brain.device)
        if not later:
            self._release(self.folder / "release", self.parts.training_state())
        else:  # with its semantic decoder, without the discriminators, which are large
            self._release(self.folder / stage / "release", {})
        self._resynthesize(brain.settings.name, brain.device)
        self.facts["stages"][stage] = brain.metadata()

    def finish(self) -> None:
        """Score all that was resynthesized, and write table, release's card and samples.

        The main process does; it is the last step, in which the others end.
        """
        leave_group()
        if not is_main():
            return
        hparams, folder, parts = self.hparams, self.folder, self.parts
        self.facts["seconds"] = round(time.monotonic() - self.started, 1)
        processes = hparams["scoring_processes"]
        table = latent_report.score_rows(self.copies, hparams["metrics"], processes, self._bars)
        latent_report.write_metrics(folder / "metrics.json", table, self.facts)
        self._release(folder / "release", parts.training_state(), table)
        latent_report.write_samples(folder / "samples", self.copies, hparams["sample_clips"])
        places = {"release": folder / "release", "samples": folder / "samples"}
        self.show_results(format_table(table), **places, scores=folder / "metrics.json")

    @property
    def _bars(self) -> bool:
        return not self.run_opts["noprogressbar"]

    def _choose_coordinates(self, device: str) -> None:
        """Fit the latent's basis, once: who trains on, or fine-tunes, keeps its coordinates."""
        model = self.parts.model
        if not isinstance(model, WavCube) or model.latent_basis is None:
            return
        if not model.latent_basis.is_fitted:
            seed = self.hparams["seed"]
            speech = sample_of(self.rows["train"], BASIS_UTTERANCES, model.sample_rate, seed)
            try:
                fit_latent_basis(model, speech, device, self._bars)
            except ValueError as error:  # of training speech that is all silence, say
                logger.warning("the latent keeps its own coordinates: %s", error)

    def _left_out(self) -> str:
        longest = self.hparams["longest_test"]
        count = count_longer([*self.rows["valid"], *self.rows["test"]], longest)
        if not count:
            return ""
        return f"; {count} of valid and test left out, longer than {longest:g} s (longest_test)"

    def _release(
        self,
        target: Path,
        state: Mapping[str, Tensor],
        table: Mapping[str, Mapping[str, Summary]] | None = None,
    ) -> None:
        card = describe_run(self.parts.model, self.hparams, table or {})
        write_release(self.parts.model, target, card=card, training_state=state, overwrite=True)

    def _resynthesize(self, label: str, device: str) -> None:
        model, teacher = self.parts.model, self.parts.teacher
        self.copies[label] = latent_report.resynthesize(
            model, teacher, self.test, device, self._bars
        )


def main(script: str, usage: str) -> None:
    """Run a recipe that trains the latent.

    Parameters
    ----------
    script : str
        The recipe's file.
    usage : str
        Its docstring.
    """
    LatentRun(script, usage).main(sys.argv[1:])
