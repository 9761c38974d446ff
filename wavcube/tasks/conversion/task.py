"""Conversion: restore speech from copies in other voices, and say it in the voice of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor
from tqdm import tqdm

from wavcube.data.audio import read_audio, write_audio
from wavcube.data.corpora.custom import extra_voices, prepare_custom_corpus
from wavcube.data.corpora.vctk import extra_folders, is_vctk, prepare_vctk, synthetic_vctk
from wavcube.data.manifest import Utterance, describe_split, evenly_spaced, read_manifest
from wavcube.data.prepare import check_same_data
from wavcube.data.synthetic import synthetic_speakers
from wavcube.data.synthetic.vctk import Role
from wavcube.lobes.lengths import length_mask, to_absolute
from wavcube.losses import MelLoss
from wavcube.metrics import Summary
from wavcube.representations import Representation
from wavcube.tasks.conversion import VERB
from wavcube.tasks.conversion.data import ConversionDataset
from wavcube.tasks.conversion.feature_cache import FeatureCache, check_several, speaker_embeddings
from wavcube.tasks.conversion.heads import SMALLEST_STD
from wavcube.tasks.conversion.inference import WavCubeVoiceConverter
from wavcube.tasks.conversion.model import ConversionBatch, StoredVoice, VoiceConverter
from wavcube.tasks.conversion.trials import (
    DISTORTION,
    Trial,
    check_metrics,
    make_trials,
    read_references,
    score_trials,
)
from wavcube.tasks.conversion.voice import Voice, masked_moments
from wavcube.tasks.registry import register_task
from wavcube.tasks.task import ItemScores, Splits, Task, TaskSettings
from wavcube.training.distributed import print_main

RESYNTHESIS = "source, resynthesised"
LOGGED_CLIPS = 3
# what chooses the speech: a run goes on with the same only
DATA_KEYS = ("data_folder", "training_folders", "add_synthetic", "synthetic", "microphone",
             "valid_speakers", "test_speakers", "target_speaker")  # fmt: skip
# and, where one speaker is learned, which of its recordings are kept apart
ONE_VOICE_KEYS = ("valid_sentences", "sentences_per_pair")


@register_task("conversion")
class Conversion(Task[VoiceConverter]):
    """From any voice to any other, or to the one that `target_speaker` names.

    Validation generates: "latent" is the mean absolute error of the latents in units of the
    speaker's deviations, "mel" the log-mel distance of what the decoder makes of the generated
    latents and of the true ones.
    """

    verb = VERB
    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {"latent": "min", "mel": "min"}

    def rows(self, source: Path | None) -> Splits:
        """Read the manifests of train, valid and test: of VCTK's voices, or of the user's own."""
        hparams, out = self.hparams, self.folder / "manifests"
        keys = DATA_KEYS if hparams["target_speaker"] is None else (*DATA_KEYS, *ONE_VOICE_KEYS)
        check_same_data(out / "data.json", {key: hparams[key] for key in keys})
        limits = {"max_bad_fraction": hparams["max_bad_fraction"]}
        chosen: dict[str, Any] = {}
        if source is None or is_vctk(source):
            chosen = {"microphone": hparams["microphone"], **self._held_out(source is None)}
            source = synthetic_vctk(hparams) if source is None else source
            manifests = prepare_vctk(source, out, **chosen, **limits)
        else:
            names = ("valid_speakers", "test_speakers")
            chosen = {name: hparams[name] or () for name in names}
            manifests = prepare_custom_corpus(source, out, **chosen, **limits)
        root = source if source.is_dir() else source.parent
        rows = {role: read_manifest(path, root) for role, path in manifests.items()}
        rows["train"] += extra_voices(
            extra_folders(hparams), rows["valid"] + rows["test"], **limits
        )
        return rows

    def _held_out(self, is_synthetic: bool) -> dict[str, list[str]]:
        """Give VCTK's speakers of validation and test, or the synthetic corpus's."""
        roles: tuple[Role, ...] = ("valid", "test")
        named = {role: self.hparams[f"{role}_speakers"] for role in roles}
        if is_synthetic:
            sizes = self.hparams["synthetic"]
            named = {
                role: names or synthetic_speakers(role, sizes[f"{role}_voices"])
                for role, names in named.items()
            }
        missing = [f"{role}_speakers" for role, names in named.items() if not names]
        if missing:
            raise ValueError(
                f"name VCTK's speakers to hold out by {' and '.join(missing)}, such as "
                f"--{missing[0]} [p225,p226]"
            )
        return {f"{role}_speakers": names for role, names in named.items()}

    def setup(self, rows: Splits, pretrained: Path | None) -> None:
        """Check the speakers, and choose what is judged.

        Parameters
        ----------
        rows : dict of str to list
            With speakers.
        pretrained : Path, optional
            The release that the run goes on from.

        Raises
        ------
        ValueError
            If a metric is unknown, a speaker has too few utterances, or there are too few speakers.
        """
        check_metrics(self.hparams["metrics"])
        target = self.hparams["target_speaker"]
        own = [] if target is None else self._recordings_of(target, rows)
        self.trials = make_trials(
            rows["test"],
            rows["train"] + rows["valid"],
            sentences=self.hparams["sentences_per_pair"],
            reference_seconds=self.hparams["reference_seconds"],
            targets=None if target is None else [target],
        )
        if target is not None:
            self._keep_to(target, own, rows)
        if not self.hparams["single_utterances"]:
            check_several(rows["train"], self.hparams["data_folder"])
        if DISTORTION in self.hparams["metrics"]:
            parallel = sum(trial.parallel is not None for trial in self.trials)
            print_main(
                f"{DISTORTION}: of {parallel} of {len(self.trials)} trials, where both speakers "
                "say the sentence"
            )
        self.training_rows = rows["train"]
        self.valid_rows = share_out(rows["valid"], self.hparams["valid_utterances"])
        self.last: dict[str, Tensor] = {}

    def _recordings_of(self, target: str, rows: Splits) -> list[Utterance]:
        own = [row for row in rows["train"] + rows["valid"] if row.spk_id == target]
        needed = self.hparams["valid_sentences"] + 2
        if len(own) < needed:
            known = sorted({row.spk_id for row in rows["train"]})
            raise ValueError(
                f"target_speaker {target!r} has {len(own)} utterances for training and validation, "
                f"and needs {needed}; speakers: {', '.join(known)}"
            )
        return own

    def _keep_to(self, target: str, own: Sequence[Utterance], rows: Splits) -> None:
        """Train on one speaker alone, and on nothing that conversions are compared with.

        These recordings, and the last of the others if they are too few, are for validation.
        """
        judges = {trial.judge for trial in self.trials}
        held_out = [row for row in own if row in judges]
        free = [row for row in own if row not in judges]
        count = len(free) - max(0, self.hparams["valid_sentences"] - len(held_out))
        if count < 2:
            raise ValueError(
                f"target_speaker {target!r} has {len(own)} utterances, of which conversions are "
                f"compared with {len(held_out)}: {max(count, 0)} are left to train on, and 2 are "
                "needed. Set sentences_per_pair or valid_sentences lower"
            )
        rows["train"], rows["valid"] = free[:count], [*free[count:], *held_out]

    def build(self, representation: Representation) -> VoiceConverter:
        """Build the YAML's head on a representation; one voice is stored with them."""
        head = self.hparams["head"]
        if self.hparams["target_speaker"] is None:
            return VoiceConverter(representation, head)
        frames = round(self.hparams["reference_seconds"] * representation.frame_rate)
        stored = StoredVoice(representation.dim, frames, head.embedding_dim)
        model = VoiceConverter(representation, head, stored)
        self._store(model, stored)
        return model

    def load_pretrained(self, released: VoiceConverter) -> VoiceConverter:
        """Give a release for one voice the voice of this run.

        Parameters
        ----------
        released : VoiceConverter
            With its weights.

        Raises
        ------
        ValueError
            If it is for one voice and this run is for any, or the other way round.
        """
        if (released.stored is None) != (self.hparams["target_speaker"] is None):
            raise ValueError(
                "the release converts to any voice: leave target_speaker out"
                if released.stored is None
                else "the release converts to one voice: name the new one by target_speaker"
            )
        if released.stored is not None:
            self._store(released, released.stored)
        return released

    def _store(self, model: VoiceConverter, stored: StoredVoice) -> None:
        seconds, rate = self.hparams["reference_seconds"], model.sample_rate
        rows, wavs = self.training_rows, []
        for row in rows:
            wavs.append(read_audio(row.wav, rate))
            if sum(map(len, wavs)) >= seconds * rate:
                break
        made = None
        if model.head.embedding_dim:
            made = speaker_embeddings(rows, rate, progress=False)[rows[0].spk_id][None]
        with torch.no_grad():
            wav = torch.cat(wavs)[None, : round(seconds * rate)]
            stored.keep(model.voice_of(wav, embedding=made))

    def prepare_training(self, model: VoiceConverter, settings: TaskSettings) -> None:
        """Build what validation measures with."""
        del settings
        self.mel_distance = MelLoss(model.sample_rate).to(self.device)

    def describe_rows(self, rows: Splits) -> str:
        """Say how much there is of each role."""
        test = list(dict.fromkeys(trial.source for trial in self.trials))
        return describe_split({"train": rows["train"], "valid": self.valid_rows, "test": test})

    def dataset(
        self, model: VoiceConverter, rows: Sequence[Utterance], role: str
    ) -> ConversionDataset:
        """Give lessons; what they need is computed once and kept."""
        hparams = self.hparams
        model = model.to(self.device).eval()
        library = FeatureCache(
            model, hparams["cache_folder"], hparams["perturbation"], hparams["copies"]
        )
        rate, embeddings = model.representation.frame_rate, None
        if model.head.embedding_dim:
            embeddings = self._embeddings
        # the same lessons whatever the seed of the run, so that runs can be compared
        seed = hparams["seed"] if role == "train" else 0
        rows, lessons = (
            (rows, self.items_per_epoch)
            if role == "train"
            else (self.valid_rows, hparams["valid_lessons"])
        )
        return ConversionDataset(
            library.add(rows, seed, self.progress),
            library.read,
            lessons=lessons,
            seed=seed,
            crop_frames=round(hparams["crop_seconds"] * rate),
            reference_frames=round(hparams["reference_seconds"] * rate),
            embeddings=embeddings,
        )

    @cached_property
    def _embeddings(self) -> dict[str, Tensor]:
        rows = [*self.training_rows, *self.valid_rows]
        rate = self.hparams["representation"]["sample_rate"]
        return speaker_embeddings(rows, rate, self.progress)

    def lesson(self, batch: PaddedBatch) -> ConversionBatch:
        """Give a batch the form that the model takes.

        Parameters
        ----------
        batch : PaddedBatch
            With `source`, `target` and `reference` `[B, N, D]`, `f0` `[B, N, 2]` and, for a
            head that needs it, `embedding` `[B, E]`.
        """
        source, frames = _counted(batch.source)
        reference, known = _counted(batch.reference)
        embedding = batch.embedding.data if hasattr(batch, "embedding") else None
        f0 = batch.f0.data
        # the f0 is that of the target: nothing has to be moved to the voice's mean pitch
        voice = Voice(reference, known, torch.zeros_like(known, dtype=source.dtype), embedding)
        return ConversionBatch(source, frames, f0[..., 0], f0[..., 1] > 0, voice, batch.target.data)

    def loss(self, model: VoiceConverter, batch: PaddedBatch) -> dict[str, Tensor]:
        """Compute how far the head is from the lessons' targets."""
        return {"lesson": model(lesson=self.lesson(batch))}

    def scores(self, model: VoiceConverter, batch: PaddedBatch) -> Iterator[ItemScores]:
        """Generate, and score each lesson by itself."""
        lesson, own = self.lesson(batch), model.representation
        made = model.head(*lesson.given())
        _, std = masked_moments(lesson.voice.latents, lesson.voice.frames)
        errors = (made - lesson.target).abs() / std[:, None].clamp(min=SMALLEST_STD)
        valid = length_mask(lesson.frames, made.shape[1])
        lens = lesson.frames / made.shape[1]
        pair = [own.model.decode(part, lens) for part in (made, lesson.target)]
        for index, frames in enumerate(lesson.frames.tolist()):
            wavs = [part[index : index + 1, : frames * own.hop] for part in pair]
            if index < LOGGED_CLIPS:
                for kind, wav in zip(("generated", "original"), wavs, strict=True):
                    self.listen(f"{kind}/{index}", wav[0], model.sample_rate)
            distance = float(self.mel_distance(*wavs))
            yield {"latent": float(errors[index][valid[index]].mean()), "mel": distance}

    def baselines(self, model: VoiceConverter, rows: Splits) -> dict[str, dict[str, Summary]]:
        """Score the sources as WavCube gives them back: what a converter's words can come near."""
        del rows
        own, made = model.representation.to(self.device), {}
        with torch.inference_mode():
            for trial in self.trials:
                wav = read_audio(trial.source.wav, own.sample_rate).to(self.device)
                latents, lens = own(wav[None])
                made[trial.name] = own.model.decode(latents, lens, len(wav))[0].cpu()
        return {RESYNTHESIS: self._score(made, model.sample_rate)}

    def evaluate(self, model: VoiceConverter, rows: Splits, label: str) -> dict[str, Summary]:
        """Convert between all pairs of test speakers, and score what comes out."""
        del rows, label
        options = {"device": self.device}
        user = WavCubeVoiceConverter({"model": model}, run_opts=options, freeze_params=False)
        bar = tqdm(self.trials, desc="conversion", disable=not self.progress)
        self.last = {trial.name: self._convert(user, trial) for trial in bar}
        return self._score(self.last, model.sample_rate)

    def _convert(self, user: WavCubeVoiceConverter, trial: Trial) -> Tensor:
        wav = read_audio(trial.source.wav, user.sample_rate)
        if user.mods.model.stored is not None:
            return user.convert_batch(wav[None])[0].cpu()
        seconds = self.hparams["reference_seconds"]
        reference = read_references(trial, user.sample_rate, seconds)
        return user.convert_batch(wav[None], reference[None])[0].cpu()

    def _score(self, made: dict[str, Tensor], sample_rate: int) -> dict[str, Summary]:
        options = self.hparams["metrics"], self.hparams["scoring_processes"], self.progress
        return score_trials(self.trials, made, sample_rate, *options)

    def samples(self, model: VoiceConverter, folder: Path) -> None:
        """Write sources, references and conversions of some trials.

        Parameters
        ----------
        model : VoiceConverter
            As evaluated.
        folder : Path
            Of the samples.
        """
        rate = model.sample_rate
        for trial in evenly_spaced(self.trials, self.hparams["sample_clips"]):
            name = trial.name.replace(" ", "_")
            write_audio(folder / f"{name}_source.wav", read_audio(trial.source.wav, rate), rate)
            reference = read_references(trial, rate, self.hparams["reference_seconds"])
            write_audio(folder / f"{name}_reference.wav", reference, rate)
            write_audio(folder / f"{name}_converted.wav", self.last[trial.name], rate)

    def card(self, model: VoiceConverter) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        target = self.hparams["target_speaker"]
        whose = "any voice, of which it hears a recording" if target is None else f"voice {target}"
        return {
            "title": "WavCube voice converter",
            "summary": f"Speech to the same speech in another voice: {whose}. A "
            f"{type(model.head).__name__} on {type(model.representation).__name__}, made "
            "by a WavCube recipe. Convert to the voices of people who have agreed to it.",
        }


def share_out(rows: Sequence[Utterance], count: int) -> list[Utterance]:
    """Choose from all speakers equally; of each, sentences that follow one another.

    Parameters
    ----------
    rows : sequence of Utterance
        With speakers.
    count : int
        How many at most. Where they are not enough for two of each speaker, one to restore and one
        for reference, speakers are left out at even distances.

    Examples
    --------
    >>> rows = [Utterance(f"{name}{i}", 1.0, "a.wav", name) for name in "abc" for i in range(3)]
    >>> [row.ID for row in share_out(rows, 7)]
    ['a0', 'a1', 'b0', 'b1', 'c0', 'c1']
    >>> [row.ID for row in share_out(rows, 4)]
    ['a0', 'a1', 'b0', 'b1']
    """
    speakers: dict[str, list[Utterance]] = {}
    for row in rows:
        speakers.setdefault(row.spk_id, []).append(row)
    needed = min(2, max(map(len, speakers.values()), default=1))
    chosen = evenly_spaced(list(speakers.values()), max(1, count // needed))
    each = max(1, count // max(1, len(chosen)))
    return [row for own in chosen for row in own[:each]]


def _counted(part: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - SpeechBrain's named pair
    """Split padded data into the data and the count of each item."""
    data = part.data
    return data, to_absolute(part.lengths, data.shape[1], len(data), data.device)
