"""Train WavCube's latent in two stages, evaluate both, and write a folder that loads.

    python recipes/LibriSpeech/train.py hparams/wavcube.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train.py hparams/acoustic_codec.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train.py hparams/wavcube.yaml --pretrained RELEASE --data_folder ...

The data are LibriSpeech, any folder of wav and flac files, or a CSV with the column "wav"; without
a data folder the package speaks a corpus itself. The same command again resumes a run that was
interrupted, and evaluates one that was finished. The acoustic codec has one stage; where there are
several, each but the last leaves a folder that loads too.
"""

import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from librispeech_prepare import is_librispeech, prepare_librispeech

from wavcube.brains import latent_report
from wavcube.brains.checkpoints import AtomicCheckpointer
from wavcube.brains.command_line import parse_arguments
from wavcube.brains.journal import Journal
from wavcube.brains.latent import LatentBrain
from wavcube.brains.latent_card import describe_run
from wavcube.brains.latent_parts import LatentParts, spread
from wavcube.brains.schedules import ResumeError
from wavcube.brains.usage import interruptible, nothing_left_of, show, usage_errors
from wavcube.data.crops import CropDataset
from wavcube.data.embedded import default_cache_folder, make_embedded_corpus
from wavcube.data.further import further_speech
from wavcube.data.manifest import read_manifest
from wavcube.data.prepare import check_same_data, prepare_own_audio
from wavcube.data.splits import describe_split
from wavcube.data.utterances import utterance_dataset
from wavcube.export import write_release
from wavcube.metrics import format_table

refuse = partial(usage_errors, "train.py")
DATA_KEYS = ("data_folder", "training_folders", "add_embedded", "embedded_minutes")


def prepare(hparams):
    """Make the manifests of train, valid and test, and read them."""
    source, out_folder = hparams["data_folder"], Path(hparams["output_folder"]) / "manifests"
    check_same_data(out_folder / "data.json", {key: hparams[key] for key in DATA_KEYS})
    if source is None:
        show("no --data_folder: training on speech that the package makes itself")
        source = embedded_corpus(hparams)
    limits = {"max_bad_fraction": hparams["max_bad_fraction"]}
    if is_librispeech(source):
        held_back = hparams["held_back_speakers"]
        manifests = prepare_librispeech(source, out_folder, held_back_speakers=held_back, **limits)
    else:
        manifests = prepare_own_audio(source, out_folder, **limits)
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    rows = {name: read_manifest(path, root) for name, path in manifests.items()}
    further = list(hparams["training_folders"])
    if hparams["add_embedded"] and hparams["data_folder"] is not None:
        further.append(embedded_corpus(hparams) / "train-clean-100")
    rows["train"] += further_speech(further, rows["valid"] + rows["test"], **limits)
    return rows


def embedded_corpus(hparams):
    """Make the speech of the package's own, or find it in the cache."""
    folder = hparams["embedded_folder"] or default_cache_folder()
    return make_embedded_corpus(folder, train_minutes=hparams["embedded_minutes"])


def choose_test(rows, hparams):
    """Choose the utterances of the table."""
    shortest = hparams["shortest_test"]
    long_enough = [row for row in rows["test"] if row.duration >= shortest]
    if not long_enough:
        raise ValueError(f"no test utterance lasts {shortest} s: lower shortest_test")
    return spread(long_enough, hparams["test_utterances"])


def train_stage(name, seed, parts, rows, hparams, run_opts):
    """Train one stage, or what is left of it; the parts then have its best weights."""
    folder, rate = Path(hparams["output_folder"]), parts.model.sample_rate
    with refuse():
        crops = CropDataset(
            [row.as_dict() for row in rows["train"]],
            crop_seconds=hparams["crop_seconds"],
            crops_per_epoch=hparams["validate_every"] * hparams["batch_size"],
            sample_rate=rate,
            seed=seed,
        )
        valid = utterance_dataset(spread(rows["valid"], hparams["valid_utterances"]), rate)
        brain = LatentBrain(
            parts.model,
            hparams[name],
            parts.discriminators,
            parts.teacher,
            hparams["mel_loss"],
            opt_class=hparams["optimizer"],
            hparams=hparams,
            run_opts=run_opts,
            checkpointer=AtomicCheckpointer(folder / name / "save"),
            journal=Journal(folder / "train_log.txt", folder / name / "tensorboard"),
        )
    loader = {"batch_size": hparams["batch_size"], "num_workers": hparams["num_workers"]}
    with refuse(kinds=(ResumeError,)):
        brain.fit(brain.epochs, crops, valid, None, {**loader, "collate_fn": crops.collate})
    parts.has_trained_discriminators |= brain.settings.is_adversarial
    with refuse():
        brain.load_best()
    return brain


def finish(rows, parts, hparams, facts, bars):
    """Score all rows, and write table, samples and release."""
    folder = Path(hparams["output_folder"])
    processes = hparams["scoring_processes"]
    scored = latent_report.score_rows(rows, hparams["metrics"], processes, bars)
    latent_report.write_samples(folder / "samples", rows, hparams["sample_clips"])
    latent_report.write_metrics(folder / "metrics.json", scored, facts)
    card, state = describe_run(parts.model, hparams, scored), parts.training_state()
    write_release(parts.model, folder / "release", card=card, training_state=state, overwrite=True)
    show(format_table(scored))
    for what, name in (("release", "release"), ("samples", "samples"), ("scores", "metrics.json")):
        show(f"{what}: {folder / name}")


def main(arguments):
    """Read the arguments and the YAML, and run."""
    with interruptible("train.py"), refuse():
        hparams_file, run_opts, overrides = parse_arguments(arguments, __doc__)
        sb.utils.distributed.ddp_init_group(run_opts)
        with open(hparams_file, encoding="utf-8") as file:
            hparams = load_hyperpyyaml(file, overrides)
    with interruptible("train.py", hparams["output_folder"]):
        run(hparams, run_opts, hparams_file, overrides)


def run(hparams, run_opts, hparams_file, overrides):
    """Prepare, train, evaluate, export."""
    started, release = time.monotonic(), hparams["pretrained"]
    with refuse():
        parts = LatentParts.from_block(hparams["model"], release, hparams["reset_discriminators"])
        with nothing_left_of(hparams["output_folder"]):
            rows = prepare(hparams)
            chosen = choose_test(rows, hparams)
            test = utterance_dataset(chosen, parts.model.sample_rate)
        sb.create_experiment_directory(hparams["output_folder"], hparams_file, overrides)
    main_process = sb.utils.distributed.if_main_process()
    if main_process:
        valid = spread(rows["valid"], hparams["valid_utterances"])
        show(describe_split({"train": rows["train"], "valid": valid, "test": chosen}))
    copies, facts = {}, {"seed": hparams["seed"], "command": sys.argv, "stages": {}}
    bars = not run_opts["noprogressbar"]
    if release is not None:
        made = latent_report.resynthesize(parts.model, parts.teacher, test, progress=bars)
        copies["as released"] = made
    stages = hparams["fine_tune_stages" if release else "stages"]
    for index, name in enumerate(stages):
        brain = train_stage(name, hparams["seed"] + index, parts, rows, hparams, run_opts)
        made = latent_report.resynthesize(parts.model, parts.teacher, test, brain.device, bars)
        copies[brain.settings.name] = made
        facts["stages"][name] = brain.facts()
        if name != stages[-1] and main_process:
            # with its semantic decoder, without the discriminators, which are large
            target, card = Path(hparams["output_folder"]), describe_run(parts.model, hparams, {})
            target = target / name / "release"
            write_release(parts.model, target, card=card, training_state={}, overwrite=True)
    facts["seconds"] = round(time.monotonic() - started, 1)
    if main_process:
        finish(copies, parts, hparams, facts, bars)
        show(f"time: {timedelta(seconds=round(time.monotonic() - started))}")


if __name__ == "__main__":
    main(sys.argv[1:])
