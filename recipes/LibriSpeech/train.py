"""Train WavCube's latent in two stages, evaluate both, and write a folder that loads.

    python recipes/LibriSpeech/train.py hparams/wavcube.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train.py hparams/acoustic_codec.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train.py hparams/wavcube.yaml --pretrained RELEASE --data_folder ...

The data are LibriSpeech, any folder of wav and flac files, or a CSV with the column "wav"; without
a data folder the package speaks a corpus itself. The same command again resumes a run that was
interrupted, and evaluates one that was finished. The acoustic codec has one stage; where there are
several, each but the last leaves a folder that loads too.
"""

import shlex
import sys
import time
from functools import partial
from pathlib import Path

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from librispeech_prepare import is_librispeech, prepare_librispeech

from wavcube.brains import latent_report
from wavcube.brains.checkpoints import AtomicCheckpointer
from wavcube.brains.journal import Journal
from wavcube.brains.latent import LatentBrain
from wavcube.brains.latent_parts import LatentParts, spread
from wavcube.brains.usage import show, usage_errors
from wavcube.data.crops import CropDataset
from wavcube.data.embedded import default_cache_folder, make_embedded_corpus
from wavcube.data.manifest import read_manifest
from wavcube.data.prepare import prepare_own_audio
from wavcube.data.scan import scan_audio_folder
from wavcube.data.utterances import utterance_dataset
from wavcube.export import read_card, write_release
from wavcube.metrics import format_table
from wavcube.release.card import ModelCard, Source
from wavcube.release.ssl_folder import packaged_encoder

refuse = partial(usage_errors, "train.py")
SUMMARIES = {
    "WavCube": "A small model of speech's latent (arXiv 2605.06407), made by the WavCube recipe.",
    "AcousticCodec": "A small acoustic codec, made by the WavCube recipe to compare WavCube with: "
    "its latent, decoder and losses without any semantic part.",
}
UNKNOWN = "not known to this recipe: see the README.md that came with it"
PACKAGED = Source(
    "the SSL encoder of the wavcube package",
    "Apache-2.0; trained on LibriSpeech and VCTK (CC BY 4.0, to be credited), LJSpeech (public "
    "domain) and embedded speech",
    "wavcube/pretrained/encoder",
)


def prepare(hparams):
    """Make the manifests of train, valid and test, and read them."""
    source, out_folder = hparams["data_folder"], Path(hparams["output_folder"]) / "manifests"
    if source is None:
        show("no --data_folder: training on speech that the package makes itself")
        source = embedded_corpus(hparams)
    bad = hparams["max_bad_fraction"]
    if is_librispeech(source):
        held_back = hparams["held_back_speakers"]
        manifests = prepare_librispeech(
            source, out_folder, held_back_speakers=held_back, max_bad_fraction=bad
        )
    else:
        manifests = prepare_own_audio(source, out_folder, max_bad_fraction=bad)
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    rows = {name: read_manifest(path, root) for name, path in manifests.items()}
    rows["train"] += further_speech(hparams)
    return rows


def embedded_corpus(hparams):
    """Make the speech of the package's own, or find it in the cache."""
    folder = hparams["embedded_folder"] or default_cache_folder()
    return make_embedded_corpus(folder, train_minutes=hparams["embedded_minutes"])


def further_speech(hparams):
    """List the utterances that are for training alone, beside the data folder's."""
    folders = [Path(folder) for folder in hparams["training_folders"]]
    if hparams["add_embedded"] and hparams["data_folder"] is not None:
        folders.append(embedded_corpus(hparams) / "train-clean-100")
    limit = hparams["max_bad_fraction"]
    found = [scan_audio_folder(folder, max_bad_fraction=limit).utterances for folder in folders]
    return [row for rows in found for row in rows]


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
    brain.fit(brain.epochs, crops, valid, None, {**loader, "collate_fn": crops.collate})
    with refuse():
        brain.load_best()
    return brain


def describe(model, hparams, table):
    """Say what the model is and where it comes from."""
    own, encoder, release = (hparams[k] for k in ("data_folder", "ssl_source", "pretrained"))
    data = [Source("embedded speech", "generated with espeak-ng", "wavcube.data.embedded")]
    if own is not None:
        data = [Source(Path(own).name, "of the data's owner", "given as --data_folder")]
    title, upstream = type(model).__name__, []
    known = encoder is None or Path(encoder) == packaged_encoder()
    if encoder is not None:
        other = Source("SSL encoder", UNKNOWN, Path(encoder).name)
        upstream.append(PACKAGED if known else other)
    if release is not None:
        made = read_card(release)
        licence = made.weights_license if made else UNKNOWN
        upstream.append(Source(title, licence, Path(release).name))
        if made:  # what it was made of, this model is made of too
            upstream, data = [*upstream, *made.upstream], [*data, *made.data]
    free = own is None and release is None and known
    columns = {row: {k: s.mean for k, s in cells.items()} for row, cells in table.items()}
    said = {
        "title": title,
        "summary": SUMMARIES[title],
        "weights_license": "Apache-2.0" if free else "as far as all that it was made of allows",
        "commercial_use": "yes" if free else "unclear",
        "upstream": list(dict.fromkeys(upstream)),
        "data": list(dict.fromkeys(data)),
        "command": shlex.join(["python", *sys.argv]),
        "results": {r: {k: v for k, v in c.items() if v is not None} for r, c in columns.items()},
    }
    return ModelCard(**{**said, **(hparams["card"] or {})})


def finish(rows, parts, hparams, facts, bars):
    """Score all rows, and write table, samples and release."""
    folder = Path(hparams["output_folder"])
    processes = hparams["scoring_processes"]
    scored = latent_report.score_rows(rows, hparams["metrics"], processes, bars)
    latent_report.write_samples(folder / "samples", rows, hparams["sample_clips"])
    latent_report.write_metrics(folder / "metrics.json", scored, facts)
    card, state = describe(parts.model, hparams, scored), parts.training_state()
    write_release(parts.model, folder / "release", card=card, training_state=state, overwrite=True)
    show(format_table(scored))


def main(arguments):
    """Prepare, train, evaluate, export."""
    started = time.monotonic()
    with refuse():
        hparams_file, run_opts, overrides = sb.parse_arguments(arguments)
        sb.utils.distributed.ddp_init_group(run_opts)
        with open(hparams_file, encoding="utf-8") as file:
            hparams = load_hyperpyyaml(file, overrides)
        release = hparams["pretrained"]
        parts = LatentParts.from_block(hparams["model"], release, hparams["reset_discriminators"])
        # before anything is written: a mistake leaves no folder behind
        rows = prepare(hparams)
        shortest = hparams["shortest_test"]
        test = [row for row in rows["test"] if row.duration >= shortest]
        if not test:
            raise ValueError(f"no test utterance lasts {shortest} s: lower shortest_test")
        test = spread(test, hparams["test_utterances"])
        test = utterance_dataset(test, parts.model.sample_rate)
        sb.create_experiment_directory(hparams["output_folder"], hparams_file, overrides)
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
        if name != stages[-1] and sb.utils.distributed.if_main_process():
            # with its semantic decoder, without the discriminators, which are large
            target, card = Path(hparams["output_folder"]), describe(parts.model, hparams, {})
            target = target / name / "release"
            write_release(parts.model, target, card=card, training_state={}, overwrite=True)
    facts["seconds"] = round(time.monotonic() - started, 1)
    if sb.utils.distributed.if_main_process():
        finish(copies, parts, hparams, facts, bars)


if __name__ == "__main__":
    main(sys.argv[1:])
