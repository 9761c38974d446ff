"""The steps of a voice converter's run; those of a corpus are in the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from wavcube.data.audio import read_audio, write_audio
from wavcube.data.manifest import Utterance
from wavcube.data.splits import describe_split, evenly_spaced
from wavcube.experiment.usage import show
from wavcube.metrics import Summary
from wavcube.tasks.conversion.data import LessonDataset
from wavcube.tasks.conversion.feature_cache import VoiceLibrary, check_several, speaker_embeddings
from wavcube.tasks.conversion.inference import WavCubeVoiceConverter
from wavcube.tasks.conversion.model import StoredVoice, VoiceConverter
from wavcube.tasks.conversion.trials import (
    DISTORTION,
    Trial,
    check_metrics,
    make_trials,
    read_references,
    score_trials,
)
from wavcube.tasks.run import TaskRecipe
from wavcube.training.several import global_batch_size

RESYNTHESIS = "source, resynthesised"


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


class ConversionRecipe(TaskRecipe):
    """Conversion from any voice to any other, or to the one that `target_speaker` names."""

    validates_alone = True

    def begin(self, pretrained: Path | None) -> None:
        """Check the speakers, and choose what is judged.

        Parameters
        ----------
        pretrained : Path, optional
            The release that the run goes on from.

        Raises
        ------
        ValueError
            If a metric is unknown, a speaker has too few utterances, or there are too few speakers.
        """
        check_metrics(self.hparams["metrics"])
        target = self.hparams["target_speaker"]
        own = [] if target is None else self._recordings_of(target)
        self.trials = make_trials(
            self.rows["test"],
            self.rows["train"] + self.rows["valid"],
            sentences=self.hparams["sentences_per_pair"],
            reference_seconds=self.hparams["reference_seconds"],
            targets=None if target is None else [target],
        )
        if target is not None:
            self._keep_to(target, own)
        if not self.hparams["single_utterances"]:
            check_several(self.rows["train"], self.hparams["data_folder"])
        if DISTORTION in self.hparams["metrics"]:
            parallel = sum(trial.parallel is not None for trial in self.trials)
            show(f"{DISTORTION}: of {parallel} of {len(self.trials)} trials, where both speakers "
                 "say the sentence")  # fmt: skip
        self.last: dict[str, Tensor] = {}

    def _recordings_of(self, target: str) -> list[Utterance]:
        own = [row for row in self.rows["train"] + self.rows["valid"] if row.spk_id == target]
        needed = self.hparams["valid_sentences"] + 2
        if len(own) < needed:
            known = sorted({row.spk_id for row in self.rows["train"]})
            raise ValueError(
                f"target_speaker {target!r} has {len(own)} utterances for training and validation, "
                f"and needs {needed}; speakers: {', '.join(known)}"
            )
        return own

    def _keep_to(self, target: str, own: Sequence[Utterance]) -> None:
        """Train on one speaker alone, and on nothing that conversions are compared with.

        These recordings, and the last of the others if they are too few, are for validation.
        """
        judges = {trial.judge for trial in self.trials}
        held_back = [row for row in own if row in judges]
        free = [row for row in own if row not in judges]
        count = len(free) - max(0, self.hparams["valid_sentences"] - len(held_back))
        if count < 2:
            raise ValueError(
                f"target_speaker {target!r} has {len(own)} utterances, of which conversions are "
                f"compared with {len(held_back)}: {max(count, 0)} are left to train on, and 2 are "
                "needed. Set sentences_per_pair or valid_sentences lower"
            )
        self.rows["train"], self.rows["valid"] = free[:count], [*free[count:], *held_back]

    def make_model(self) -> VoiceConverter:
        """Build the YAML's representation and head; one voice is stored with them."""
        head, representation = self.hparams["head"], self.hparams["representation"]["module"]
        if self.hparams["target_speaker"] is None:
            return VoiceConverter(representation, head)
        frames = round(self.hparams["reference_seconds"] * representation.frame_rate)
        stored = StoredVoice(representation.dim, frames, head.embedding_dim)
        model = VoiceConverter(representation, head, stored)
        self._store(model)
        return model

    def adopt(self, released: VoiceConverter) -> VoiceConverter:
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
            self._store(released)
        return released

    def _store(self, model: VoiceConverter) -> None:
        seconds, rate = self.hparams["reference_seconds"], model.sample_rate
        rows, wavs = self.rows["train"], []
        for row in rows:
            wavs.append(read_audio(row.wav, rate))
            if sum(map(len, wavs)) >= seconds * rate:
                break
        made = None
        if model.head.embedding_dim:
            made = speaker_embeddings(rows, rate, progress=False)[rows[0].spk_id][None]
        with torch.no_grad():
            wav = torch.cat(wavs)[None, : round(seconds * rate)]
            model.stored.keep(model.voice_of(wav, embedding=made))

    def datasets(self) -> tuple[LessonDataset, LessonDataset]:
        """Give what is trained on and what chooses the best; what they need is computed once."""
        hparams, bars = self.hparams, not self.run_opts["noprogressbar"]
        train = self.rows["train"]
        valid = share_out(self.rows["valid"], hparams["valid_utterances"])
        test = [trial.source for trial in self.trials]
        show(describe_split({"train": train, "valid": valid, "test": list(dict.fromkeys(test))}))
        copies, seed = hparams["copies"], hparams["seed"]
        model = self.model.to(self.device).eval()
        library = VoiceLibrary(model, hparams["cache_folder"], hparams["perturbation"], copies)
        rate, embeddings = model.representation.frame_rate, None
        if model.head.embedding_dim:
            embeddings = speaker_embeddings([*train, *valid], model.sample_rate, bars)
        sizes = {
            "crop_frames": round(hparams["crop_seconds"] * rate),
            "reference_frames": round(hparams["reference_seconds"] * rate),
            "embeddings": embeddings,
        }
        per_epoch = hparams["validate_every"] * global_batch_size(hparams["batch_size"])
        # the same lessons whatever the seed of the run, so that runs can be compared
        clips, apart = library.add(train, seed, bars), library.add(valid, 0, bars)
        return (
            LessonDataset(clips, library.read, lessons=per_epoch, seed=seed, **sizes),
            LessonDataset(apart, library.read, lessons=hparams["valid_lessons"], seed=0, **sizes),
        )

    @cached_property
    def _sources(self) -> dict[str, Utterance]:
        return {trial.name: trial.source for trial in self.trials}

    def references(self) -> dict[str, dict[str, Summary]]:
        """Score the sources as WavCube gives them back: what a converter's words can come near."""
        own = self.model.representation
        made = {}
        with torch.inference_mode():
            for name, row in self._sources.items():
                wav = read_audio(row.wav, own.sample_rate).to(self.device)
                made[name] = own.model.decode(*own(wav[None]), length=len(wav))[0].cpu()
        return {RESYNTHESIS: self._score(made)}

    def evaluate(self, label: str) -> dict[str, Summary]:
        """Convert between all pairs of test speakers, and score what comes out.

        Parameters
        ----------
        label : str
            Of the row.
        """
        del label
        options = {"run_opts": {"device": self.device}, "freeze_params": False}
        user = WavCubeVoiceConverter({"model": self.model}, **options)
        bar = tqdm(self.trials, desc="conversion", disable=self.run_opts["noprogressbar"])
        self.last = {trial.name: self._convert(user, trial) for trial in bar}
        return self._score(self.last)

    def _convert(self, user: WavCubeVoiceConverter, trial: Trial) -> Tensor:
        rate, wav = user.sample_rate, read_audio(trial.source.wav, user.sample_rate)
        if self.model.stored is not None:
            return user.convert_batch(wav[None])[0].cpu()
        seconds = self.hparams["reference_seconds"]
        reference = read_references(trial, rate, seconds)
        return user.convert_batch(wav[None], reference[None])[0].cpu()

    def _score(self, made: dict[str, Tensor]) -> dict[str, Summary]:
        hparams, bars = self.hparams, not self.run_opts["noprogressbar"]
        options = hparams["metrics"], hparams["scoring_processes"], bars
        return score_trials(self.trials, made, self.model.sample_rate, *options)

    def write_samples(self, folder: Path) -> None:
        """Write sources, references and conversions of some trials.

        Parameters
        ----------
        folder : Path
            Of the samples.
        """
        rate = self.model.sample_rate
        for trial in evenly_spaced(self.trials, self.hparams["sample_clips"]):
            name = trial.name.replace(" ", "_")
            write_audio(folder / f"{name}_source.wav", read_audio(trial.source.wav, rate), rate)
            reference = read_references(trial, rate, self.hparams["reference_seconds"])
            write_audio(folder / f"{name}_reference.wav", reference, rate)
            write_audio(folder / f"{name}_converted.wav", self.last[trial.name], rate)

    def card_entries(self) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        target = self.hparams["target_speaker"]
        whose = "any voice, of which it hears a recording" if target is None else f"voice {target}"
        return {
            "title": "WavCube voice converter",
            "summary": f"Speech to the same speech in another voice: {whose}. A "
            f"{type(self.model.head).__name__} on {type(self.model.representation).__name__}, made "
            "by a WavCube recipe. Convert to the voices of people who have agreed to it.",
        }
