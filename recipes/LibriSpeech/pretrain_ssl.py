"""Pretrain the small SSL encoder on real speech and the embedded corpus.

    python recipes/LibriSpeech/pretrain_ssl.py hparams/ssl.yaml --data_folders "[FOLDER, ...]"

Without folders of speech the embedded corpus is all there is. The last round's encoder is left in
the output folder's `encoder/`, which `--ssl_source` of train.py takes.
"""

import logging
import random
import sys
from functools import partial
from pathlib import Path

import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.dataloader import SaveableDataLoader

from wavcube.brains.pretraining import PretrainingBrain
from wavcube.brains.schedules import WarmupCosine
from wavcube.data.crops import CropDataset
from wavcube.data.embedded import default_cache_folder, make_embedded_corpus
from wavcube.lobes.cluster_targets import CepstralFeatures, ClusterTargets, EncoderFeatures
from wavcube.lobes.lengths import to_absolute
from wavcube.lobes.ssl_weights import write_encoder

logger = logging.getLogger(__name__)


def collect_speech(hparams):
    """Rows of all audio files: those of the given folders and the embedded training split."""
    corpus = make_embedded_corpus(hparams["embedded_folder"] or default_cache_folder())
    folders = [Path(folder) for folder in hparams["data_folders"]] + [corpus / "train-clean-100"]
    rows = []
    for folder in folders:
        found, _ = scan_audio_folder(folder)
        logger.info("%s: %d files", folder, len(found))
        rows.extend(row.as_dict() for row in found)
    random.Random(hparams["seed"]).shuffle(rows)
    held_back = max(1, round(hparams["held_back"] * len(rows)))
    return rows[held_back:], rows[:held_back]


def build_loader(rows, hparams, crops, seed):
    """Crops of some rows and their loader."""
    dataset = CropDataset(
        rows,
        crop_seconds=hparams["crop_seconds"],
        crops_per_epoch=crops,
        sample_rate=hparams["encoder"].sample_rate,
        seed=seed,
    )
    return dataset, SaveableDataLoader(
        dataset, batch_size=hparams["batch_size"], collate_fn=dataset.collate
    )


def find_clusters(hparams, settings, loader):
    """Targets of one round."""
    encoder = hparams["encoder"]
    if settings["state"] is None:
        features = CepstralFeatures(encoder.sample_rate, encoder.hop)
    else:
        features = EncoderFeatures(encoder, settings["state"])
    targets = ClusterTargets(features, settings["clusters"])
    batches = []
    for batch, _ in zip(loader, range(hparams["cluster_batches"]), strict=False):
        wavs, lens = batch.wav
        batches.append((wavs, to_absolute(lens, wavs.shape[1], len(wavs), wavs.device)))
    targets.fit(batches, hparams["seed"])
    return targets


def run_round(hparams, run_opts, settings, rows, valid_rows):
    """Train one round; leave the trained weights in the encoder."""
    batch_size = hparams["batch_size"]
    crops, train = build_loader(
        rows, hparams, hparams["updates_per_epoch"] * batch_size, hparams["seed"]
    )
    valid = build_loader(valid_rows, hparams, hparams["valid_batches"] * batch_size, 0)[1]
    targets = find_clusters(hparams, settings, train)
    predictor = torch.nn.Linear(hparams["encoder"].dim, settings["clusters"])
    folder = Path(hparams["save_folder"]) / settings["name"]
    checkpointer = sb.utils.checkpoints.Checkpointer(
        folder, {"encoder": hparams["encoder"], "predictor": predictor, "targets": targets}
    )
    brain = PretrainingBrain(
        modules={"encoder": hparams["encoder"], "predictor": predictor},
        opt_class=partial(
            torch.optim.AdamW,
            lr=settings["lr"],
            betas=(0.9, 0.98),
            weight_decay=hparams["weight_decay"],
        ),
        hparams={
            **hparams,
            "targets": targets,
            "crops": crops,
            "optimizer_step_limit": settings["updates"],
            "schedule": partial(
                WarmupCosine, warmup=settings["warmup"], updates=settings["updates"]
            ),
        },
        run_opts=run_opts,
        checkpointer=checkpointer,
    )
    epochs = -(-settings["updates"] // hparams["updates_per_epoch"])
    counter = sb.utils.epoch_loop.EpochCounter(epochs)
    checkpointer.add_recoverable("counter", counter)
    brain.fit(counter, train, valid)


def main(arguments):
    """Run all rounds."""
    hparams_file, run_opts, overrides = sb.parse_arguments(arguments)
    with open(hparams_file, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    sb.create_experiment_directory(hparams["output_folder"], hparams_file, overrides)
    hparams["train_logger"] = sb.utils.train_logger.FileTrainLogger(hparams["train_log"])
    rows, valid_rows = collect_speech(hparams)
    for settings in hparams["rounds"]:
        run_round(hparams, run_opts, settings, rows, valid_rows)
        write_encoder(hparams["encoder"], Path(hparams["output_folder"]) / "encoder")


if __name__ == "__main__":
    main(sys.argv[1:])
