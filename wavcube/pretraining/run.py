"""A run that pretrains an SSL encoder, in rounds: each predicts the clusters that it finds."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from speechbrain.dataio.dataloader import SaveableDataLoader

from wavcube.data.crops import CropDataset, utterance_dataset
from wavcube.data.manifest import evenly_spaced
from wavcube.data.prepare import scan_audio_folder
from wavcube.experiment.run import Run, Training
from wavcube.experiment.speech import synthetic_corpus
from wavcube.lobes.lengths import to_absolute
from wavcube.pretraining.brain import PretrainingBrain, PretrainingSettings
from wavcube.pretraining.cluster_targets import CepstralFeatures, ClusterTargets, EncoderFeatures
from wavcube.release.ssl_folder import write_encoder
from wavcube.training.brain import GuardedBrain
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.distributed import global_batch_size, leave_group, print_main, run_on_main
from wavcube.training.run_logger import RunLogger

logger = logging.getLogger(__name__)


class PretrainingRun(Run):
    """Pretraining of the YAML's encoder on folders of speech and on the synthetic corpus."""

    def prepare(self) -> None:
        """Find the utterances of all folders and of the synthetic corpus; hold some out."""
        folders = [Path(folder) for folder in self.hparams["data_folders"]]
        rows = []
        for folder in (*folders, synthetic_corpus(self.hparams) / "train-clean-100"):
            found = scan_audio_folder(folder).utterances
            logger.info("%s: %d files", folder, len(found))
            rows.extend(found)
        self.valid_rows = evenly_spaced(rows, self.hparams["valid_utterances"])
        self.train_rows = [row for row in rows if row not in self.valid_rows]
        random.Random(self.hparams["seed"]).shuffle(self.train_rows)

    def stages(self) -> Sequence[str]:
        """Give the names of the rounds."""
        return [settings.name for settings in self.hparams["rounds"]]

    def plan(self, stage: str) -> Training:
        """Find the clusters of a round, and build the Brain that predicts them.

        Parameters
        ----------
        stage : str
            Name of the round.
        """
        hparams, encoder = self.hparams, self.hparams["encoder"]
        (settings,) = [found for found in hparams["rounds"] if found.name == stage]
        crops = CropDataset(
            [row.as_dict() for row in self.train_rows],
            crop_seconds=hparams["crop_seconds"],
            crops_per_epoch=hparams["validate_every"] * global_batch_size(hparams["batch_size"]),
            sample_rate=encoder.sample_rate,
            seed=hparams["seed"],
        )
        brain = PretrainingBrain(
            encoder,
            self._find_clusters(settings, crops),
            settings,
            hparams["corruption"],
            hparams["speed"],
            opt_class=hparams["optimizer"],
            hparams=hparams,
            run_opts=self.run_opts,
            checkpointer=AtomicCheckpointer(self.folder / stage.replace(" ", "") / "save"),
            journal=RunLogger(self.folder / "train_log.txt", self.folder / "tensorboard" / stage),
        )
        loader = {"batch_size": hparams["batch_size"], "num_workers": hparams["num_workers"]}
        valid = utterance_dataset(self.valid_rows, encoder.sample_rate)
        return Training(brain, crops, valid, {**loader, "collate_fn": crops.collate}, {})

    def _find_clusters(self, settings: PretrainingSettings, crops: CropDataset) -> ClusterTargets:
        encoder = self.hparams["encoder"]
        features: CepstralFeatures | EncoderFeatures
        if settings.layer == 0:
            features = CepstralFeatures(encoder.sample_rate, encoder.hop)
        else:
            features = EncoderFeatures(encoder, settings.layer)
        targets = ClusterTargets(features, settings.clusters)
        size = global_batch_size(self.hparams["batch_size"])
        loader = SaveableDataLoader(crops, size, collate_fn=crops.collate)
        batches = []
        for batch in islice(loader, self.hparams["cluster_batches"]):
            wavs, lens = batch.wav
            batches.append((wavs, to_absolute(lens, wavs.shape[1], len(wavs), wavs.device)))
        targets.fit(batches, self.hparams["seed"])
        return targets

    def end_stage(self, stage: str, brain: GuardedBrain) -> None:
        """Keep the encoder, which has the round's best weights, for the next one."""

    def finish(self) -> None:
        """Leave the encoder's folder."""
        target = self.folder / "encoder"
        run_on_main(lambda: write_encoder(self.hparams["encoder"], target))
        leave_group()
        print_main(f"encoder: {target}")


def main(script: str, usage: str) -> None:
    """Run a recipe that pretrains an SSL encoder.

    Parameters
    ----------
    script : str
        The recipe's file.
    usage : str
        Its docstring.
    """
    PretrainingRun(script, usage).main(sys.argv[1:])
