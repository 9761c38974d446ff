"""Pretrain the small SSL encoder on real speech and the embedded corpus.

    python recipes/LibriSpeech/pretrain_ssl.py hparams/ssl.yaml --data_folders "[FOLDER, ...]"

Without folders of speech the embedded corpus is all there is. The last round's encoder is left in
the output folder's `encoder/`, which train.py takes as --ssl_source.
"""

import logging
import random
import sys
from functools import partial
from itertools import islice
from pathlib import Path

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.dataloader import SaveableDataLoader

from wavcube.data.crops import CropDataset
from wavcube.data.scan import scan_audio_folder
from wavcube.data.splits import evenly_spaced
from wavcube.data.utterances import utterance_dataset
from wavcube.experiment.command_line import parse_arguments
from wavcube.experiment.speech import embedded_corpus
from wavcube.experiment.usage import interruptible, own_folder, show, usage_errors
from wavcube.lobes.lengths import to_absolute
from wavcube.pretraining.brain import PretrainingBrain
from wavcube.pretraining.cluster_targets import CepstralFeatures, ClusterTargets, EncoderFeatures
from wavcube.release.ssl_folder import write_encoder
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.ranks import join_group, leave_group, main_first, on_main
from wavcube.training.run_logger import Journal
from wavcube.training.several import global_batch_size

logger = logging.getLogger(__name__)
refuse = partial(usage_errors, "pretrain_ssl.py")


def collect_speech(hparams):
    """Find the utterances of all folders and of the embedded corpus; hold some back."""
    folders = [Path(folder) for folder in hparams["data_folders"]]
    rows = []
    for folder in (*folders, embedded_corpus(hparams) / "train-clean-100"):
        found = scan_audio_folder(folder).utterances
        logger.info("%s: %d files", folder, len(found))
        rows.extend(found)
    valid = evenly_spaced(rows, hparams["valid_utterances"])
    train = [row for row in rows if row not in valid]
    random.Random(hparams["seed"]).shuffle(train)
    return train, valid


def find_clusters(hparams, settings, crops):
    """Find the targets of one round."""
    encoder = hparams["encoder"]
    if settings.layer == 0:
        features = CepstralFeatures(encoder.sample_rate, encoder.hop)
    else:
        features = EncoderFeatures(encoder, settings.layer)
    targets = ClusterTargets(features, settings.clusters)
    size = global_batch_size(hparams["batch_size"])
    loader = SaveableDataLoader(crops, size, collate_fn=crops.collate)
    batches = []
    for batch in islice(loader, hparams["cluster_batches"]):
        wavs, lens = batch.wav
        batches.append((wavs, to_absolute(lens, wavs.shape[1], len(wavs), wavs.device)))
    targets.fit(batches, hparams["seed"])
    return targets


def train_round(settings, rows, valid_rows, hparams, run_opts):
    """Train one round, or what is left of it; the encoder then has its best weights."""
    folder, encoder = Path(hparams["output_folder"]), hparams["encoder"]
    with refuse():
        crops = CropDataset(
            [row.as_dict() for row in rows],
            crop_seconds=hparams["crop_seconds"],
            crops_per_epoch=hparams["validate_every"] * global_batch_size(hparams["batch_size"]),
            sample_rate=encoder.sample_rate,
            seed=hparams["seed"],
        )
        brain = PretrainingBrain(
            encoder,
            find_clusters(hparams, settings, crops),
            settings,
            hparams["corruption"],
            hparams["speed"],
            opt_class=hparams["optimizer"],
            hparams=hparams,
            run_opts=run_opts,
            checkpointer=AtomicCheckpointer(folder / settings.name.replace(" ", "") / "save"),
            journal=Journal(folder / "train_log.txt", folder / "tensorboard" / settings.name),
        )
    loader = {"batch_size": hparams["batch_size"], "num_workers": hparams["num_workers"]}
    valid = utterance_dataset(valid_rows, encoder.sample_rate)
    brain.fit(brain.epochs, crops, valid, None, {**loader, "collate_fn": crops.collate})
    brain.load_best()


def main(arguments):
    """Read the arguments and the YAML, and run."""
    with interruptible("pretrain_ssl.py"), refuse():
        hparams_file, run_opts, overrides = parse_arguments(arguments, __doc__)
        with open(hparams_file, encoding="utf-8") as file:
            hparams = load_hyperpyyaml(file, overrides)
    folder = hparams["output_folder"]
    with interruptible("pretrain_ssl.py", folder), own_folder("pretrain_ssl.py", folder):
        run(hparams, run_opts, hparams_file, overrides)


def run(hparams, run_opts, hparams_file, overrides):
    """Train all rounds and leave the encoder's folder."""
    with refuse():
        # before anything is written: a mistake leaves no folder behind
        with main_first():
            rows, valid_rows = collect_speech(hparams)
        join_group(run_opts)
        sb.create_experiment_directory(hparams["output_folder"], hparams_file, overrides)
    for settings in hparams["rounds"]:
        train_round(settings, rows, valid_rows, hparams, run_opts)
    target = Path(hparams["output_folder"]) / "encoder"
    on_main(lambda: write_encoder(hparams["encoder"], target))
    leave_group()
    show(f"encoder: {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
