"""The steps of a recogniser's run; those of a corpus are in the recipe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.metric_stats import ErrorRateStats
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.data.splits import describe_split, evenly_spaced
from wavcube.data.tokens import TextTokens, find_too_short, read_text, train_tokens
from wavcube.data.transcripts import place_of
from wavcube.experiment.usage import show
from wavcube.metrics import Summary
from wavcube.release.build import build
from wavcube.release.config_file import further_files
from wavcube.release.described import release_config
from wavcube.representations import Representation, StateCache, state_key
from wavcube.tasks.recognition.brain import count_errors, new_counts
from wavcube.tasks.recognition.data import TranscribedDataset
from wavcube.tasks.recognition.model import RecognitionModel
from wavcube.tasks.recognition.scores import error_rate
from wavcube.tasks.recognition.search import CTCSearch
from wavcube.tasks.run import AT_THE_START, TaskRecipe
from wavcube.training.several import global_batch_size

logger = logging.getLogger(__name__)

WER, CER = "WER [%] ↓", "CER [%] ↓"


class RecognitionRecipe(TaskRecipe):
    """Recognition by CTC on characters or SentencePiece.

    The transcripts of training, or the lines of the text file `vocabulary`, make the tokens; a
    release brings its own, unless there is such a file.
    """

    tokens: TextTokens
    labels: dict[str, dict[str, list[int]]]

    def begin(self, pretrained: Path | None) -> None:
        """Make the tokens, and the labels of all rows.

        Parameters
        ----------
        pretrained : Path, optional
            The release that the run goes on from.

        Raises
        ------
        ValueError
            If a transcript is empty or holds what no token spells.
        """
        hparams, text = self.hparams, self.hparams["vocabulary"]
        source = hparams["data_folder"]
        if pretrained is not None and text is None:
            names = [name for name in further_files(pretrained) if name.endswith(".model")]
            if not names:
                raise ValueError(f"{pretrained} has no tokenizer: it is no recogniser's release")
            self.tokens = TextTokens(pretrained)
        else:
            lines = (
                [row.wrd for row in _transcribed(self.rows["train"], source)]
                if text is None
                else read_text(text)
            )
            kind, size = hparams["token_kind"], hparams["vocab_size"]
            self.tokens = train_tokens(lines, self.folder / "tokens", kind, size)
        self.labels = {
            part: self.tokens.encode_rows(rows, partial(place_of, source=source))
            for part, rows in self.rows.items()
        }

    def make_model(self) -> RecognitionModel:
        """Build the YAML's representation and head."""
        head = self.hparams["head"](num_tokens=len(self.tokens))
        return RecognitionModel(self.hparams["representation"]["module"], head)

    def adopt(self, released: RecognitionModel) -> RecognitionModel:
        """Give a release's model a new last layer where its tokens are new, and augmentation.

        Parameters
        ----------
        released : RecognitionModel
            With its weights.
        """
        model, fresh = released, self.hparams["head"](num_tokens=len(self.tokens))
        if self.hparams["vocabulary"] is not None:
            model = with_new_tokens(released, len(self.tokens))
            # what the YAML lets a last layer begin with is no part of a release
            model.head.output.bias.data.copy_(fresh.output.bias.data)
        model.head.augment = fresh.augment
        return model

    def check(self) -> None:
        """Leave out utterances with fewer frames than their labels need, or refuse too many."""
        frames = {row.ID: self._frames(row) for row in self.rows["train"]}
        limit = self.hparams["max_short_fraction"]
        short = set(find_too_short(self.labels["train"], frames, limit))
        if short:
            show(f"left out: {len(short)} utterances with fewer frames than their labels need")
        self.rows["train"] = [row for row in self.rows["train"] if row.ID not in short]

    def datasets(self) -> tuple[TranscribedDataset, TranscribedDataset]:
        """Give what is trained on and what chooses the best checkpoint."""
        hparams, rows = self.hparams, self.rows["train"]
        valid = evenly_spaced(self.rows["valid"], hparams["valid_utterances"])
        show(describe_split({"train": rows, "valid": valid, "test": self._test_rows()}))
        read = self._reader([*rows, *valid])
        together = global_batch_size(hparams["batch_size"])
        per_epoch = hparams["validate_every"] * together
        group = together if hparams["group_by_length"] else 1
        sizes = {"batch_size": group, "seed": hparams["seed"]}
        return (
            TranscribedDataset(rows, self.labels["train"], read, per_epoch, **sizes),
            TranscribedDataset(valid, self.labels["valid"], read),
        )

    def brain_options(self) -> dict[str, Any]:
        """Give the Brain the tokens."""
        return {"tokens": self.tokens}

    def evaluate(self, label: str) -> dict[str, Summary]:
        """Transcribe the test utterances, and write what was heard, aligned with what was said.

        Parameters
        ----------
        label : str
            Of the row; names the files of alignments.
        """
        keys = ("beam_size", "language_model", "lm_weight", "word_score")
        # an untrained model has no peaks, which is where a beam takes its speed from
        chosen = {} if label == AT_THE_START else {key: self.hparams[key] for key in keys}
        search = CTCSearch(self.tokens, **chosen)
        rows = self._test_rows()
        dataset = TranscribedDataset(rows, self.labels["test"], self._reader([]))
        loader = DataLoader(dataset, self.hparams["batch_size"], collate_fn=dataset.collate)
        errors = new_counts()
        model = self.model.to(self.device).eval()
        for batch in tqdm(loader, desc="recognition", disable=self.run_opts["noprogressbar"]):
            with torch.inference_mode():
                heard = search(*model(*batch.to(self.device).wav))
            count_errors(errors, list(map(str, batch.id)), heard, list(batch.wrd))
        write_alignments(self.folder, label, errors)
        return {WER: error_rate(errors["wer"]), CER: error_rate(errors["cer"])}

    def extra_files(self) -> dict[str, bytes]:
        """Give the tokenizer."""
        return {self.tokens.path.name: self.tokens.path.read_bytes()}

    def card_entries(self) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        kind = {"char": "characters"}.get(self.tokens.kind, f"{self.tokens.kind} pieces")
        return {
            "title": "WavCube recogniser",
            "summary": f"A CTC recogniser of {len(self.tokens) - 1} {kind} on "
            f"{type(self.model.representation).__name__}, made by a WavCube recipe. It knows the "
            "kind of speech and the words that it was trained on.",
        }

    def _test_rows(self) -> list[Utterance]:
        return evenly_spaced(self.rows["test"], self.hparams["test_utterances"])

    def _frames(self, row: Utterance) -> int:
        own = self.model.representation
        return own.num_frames(round(row.duration * own.sample_rate))

    def _reader(self, rows: Sequence[Utterance]) -> Callable[[Utterance], Mapping[str, Tensor]]:
        """Read waveforms, or what the cache keeps of them, once it is filled with these rows."""
        rate, folder = self.model.sample_rate, self.hparams["cache_folder"]
        if not rows or folder is None or not self.model.representation.is_frozen:
            return partial(read_waveform, sample_rate=rate)
        bars = not self.run_opts["noprogressbar"]
        cache = fill_cache(folder, self.model.representation, rows, bars)
        return partial(read_states, cache=cache)


def with_new_tokens(released: RecognitionModel, num_tokens: int) -> RecognitionModel:
    """Give a recogniser another last layer, which is fresh and of another size.

    Parameters
    ----------
    released : RecognitionModel
        With its weights.
    num_tokens : int
        Of the new vocabulary, the blank among them.

    Returns
    -------
    RecognitionModel
        With the representation itself, and a copy of the rest of the head.
    """
    head = build({**release_config(released)["head"], "num_tokens": num_tokens})
    known = released.head.state_dict().items()
    kept = {name: value for name, value in known if not name.startswith("output.")}
    head.load_state_dict({**head.state_dict(), **kept})
    return RecognitionModel(released.representation, head)


def read_waveform(row: Utterance, sample_rate: int) -> dict[str, Tensor]:
    """Read `wav` `[T]` of a row."""
    return {"wav": read_audio(row.wav, sample_rate)}


def read_states(row: Utterance, cache: StateCache) -> dict[str, Tensor]:
    """Read `states` `[N, S, C]` of a row: frames first, as batches are padded there."""
    return {"states": cache[state_key(row.ID, row.wav)].transpose(0, 1).contiguous()}


def fill_cache(
    folder: str | Path,
    representation: Representation,
    rows: Sequence[Utterance],
    progress: bool = True,
) -> StateCache:
    """Compute the states of whole utterances that are not yet on disk.

    Parameters
    ----------
    folder : str or Path
        Of the caches of all models.
    representation : Representation
        A frozen one.
    rows : sequence of Utterance
        Whose states are wanted.
    progress : bool
        Show a bar.

    Returns
    -------
    StateCache
        Which has them all.
    """
    cache = StateCache(folder, representation)
    device = next(iter(representation.model.parameters()), torch.zeros(())).device

    def read(row: Utterance) -> Tensor:
        return read_audio(row.wav, representation.sample_rate).to(device)

    bar = tqdm(rows, desc="representation", unit="utterance", leave=False, disable=not progress)
    computed = cache.fill((state_key(row.ID, row.wav), partial(read, row)) for row in bar)
    if computed:
        logger.info("%d of %d utterances were represented anew", computed, len(rows))
    return cache


def write_alignments(folder: Path, label: str, errors: Mapping[str, ErrorRateStats]) -> None:
    """Write SpeechBrain's alignments of what was said and heard, words and characters.

    Parameters
    ----------
    folder : Path
        Of the run.
    label : str
        Of the row of the table.
    errors : Mapping of str to ErrorRateStats
        By the kind of rate.
    """
    for name, stats in errors.items():
        path = folder / f"{name}_{label.replace(' ', '_')}.txt"
        with path.open("w", encoding="utf-8") as file:
            stats.write_stats(file)


def _transcribed(rows: Sequence[Utterance], source: str | None) -> Sequence[Utterance]:
    if not any(row.wrd.strip() for row in rows):
        raise ValueError(
            f"{source}: no row has a transcript: give a CSV with the column 'wrd', or a folder "
            "with a .txt file beside every audio file"
        )
    for row in rows:
        if not row.wrd.strip():
            raise ValueError(f"{place_of(row, source)}: the transcript is empty")
    return rows
