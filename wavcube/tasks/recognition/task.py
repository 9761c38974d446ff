"""Recognition by CTC (Graves et al., ICML 2006), on characters or SentencePiece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.nnet.losses import ctc_loss
from speechbrain.utils.metric_stats import ErrorRateStats
from torch import Tensor

from wavcube.data.corpora.librispeech import prepare
from wavcube.data.manifest import Utterance
from wavcube.data.tokens import TextTokens, find_too_short, read_sentences, train_tokens
from wavcube.data.transcripts import place_of, read_transcripts_beside, split_by_speaker
from wavcube.experiment.speech import prepare_rows
from wavcube.metrics import Summary
from wavcube.release.config_file import build, extra_file_names, release_config
from wavcube.representations import Representation
from wavcube.tasks.recognition import VERB
from wavcube.tasks.recognition.model import RecognitionModel
from wavcube.tasks.recognition.search import CTCSearch
from wavcube.tasks.registry import register_task
from wavcube.tasks.run import AT_THE_START
from wavcube.tasks.task import ItemScores, Splits, Task, TaskSettings
from wavcube.tasks.utterances import LabelledDataset, reader
from wavcube.training.distributed import global_batch_size, print_main

SEARCH_KEYS = ("beam_size", "language_model", "lm_weight", "word_score")


@register_task("recognition")
class Recognition(Task[RecognitionModel]):
    """Speech to text: LibriSpeech, or the user's own audio and transcripts.

    The transcripts of training, or the lines of the text file `vocabulary`, make the tokens; a
    release brings its own, unless there is such a file. Error rates are those of all utterances
    together, in percent.
    """

    verb = VERB
    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {"wer": "min", "cer": "min"}
    columns: ClassVar[Mapping[str, str]] = {"wer": "WER [%] ↓", "cer": "CER [%] ↓"}

    tokens: TextTokens
    labels: dict[str, dict[str, list[int]]]

    def rows(self, source: Path | None) -> Splits:
        """Read the manifests of train, valid and test, with the words of each utterance."""
        del source  # `data_folder` says it too
        found = prepare_rows(self.hparams, prepare)
        rows = {part: read_transcripts_beside(own) for part, own in found.items()}
        speakers = self.hparams["test_speakers"]
        return split_by_speaker(rows, speakers, self.hparams["seed"]) if speakers else rows

    def setup(self, rows: Splits, pretrained: Path | None) -> None:
        """Make the tokens, and the labels of all rows.

        Parameters
        ----------
        rows : dict of str to list
            With transcripts.
        pretrained : Path, optional
            The release that the run goes on from.

        Raises
        ------
        ValueError
            If a transcript is empty or holds what no token spells.
        """
        hparams, text, source = (
            self.hparams,
            self.hparams["vocabulary"],
            self.hparams["data_folder"],
        )
        if pretrained is not None and text is None:
            if not any(name.endswith(".model") for name in extra_file_names(pretrained)):
                raise ValueError(f"{pretrained} has no tokenizer: it is not a recogniser's release")
            self.tokens = TextTokens(pretrained)
        else:
            lines = (
                [row.wrd for row in _transcribed(rows["train"], source)]
                if text is None
                else read_sentences(text)
            )
            kind, size = hparams["token_kind"], hparams["vocab_size"]
            self.tokens = train_tokens(lines, self.folder / "tokens", kind, size)
        place = partial(place_of, source=source)
        self.labels = {part: self.tokens.encode_rows(own, place) for part, own in rows.items()}

    def build(self, representation: Representation) -> RecognitionModel:
        """Build the YAML's head, for the tokens, on a representation."""
        return RecognitionModel(representation, self._fresh_head())

    def load_pretrained(self, released: RecognitionModel) -> RecognitionModel:
        """Give a release's model a new last layer where its tokens are new, and augmentation.

        Parameters
        ----------
        released : RecognitionModel
            With its weights.
        """
        model, fresh = released, self._fresh_head()
        if self.hparams["vocabulary"] is not None:
            model = with_new_tokens(released, len(self.tokens))
            # what the YAML lets a last layer begin with is not part of a release
            model.head.output.bias.data.copy_(fresh.output.bias.data)
        model.head.augment = fresh.augment
        return model

    def _fresh_head(self) -> Any:  # noqa: ANN401 - the YAML's own
        return self.hparams["head"](num_tokens=len(self.tokens))

    def check(self, model: RecognitionModel, rows: Splits) -> None:
        """Leave out utterances with fewer frames than their labels need, or refuse too many."""
        own = model.representation
        frames = {
            row.ID: own.num_frames(round(row.duration * own.sample_rate)) for row in rows["train"]
        }
        limit = self.hparams["max_short_fraction"]
        short = set(find_too_short(self.labels["train"], frames, limit))
        if short:
            print_main(
                f"left out: {len(short)} utterances with fewer frames than their labels need"
            )
        rows["train"] = [row for row in rows["train"] if row.ID not in short]

    def prepare_training(self, model: RecognitionModel, settings: TaskSettings) -> None:
        """Refuse tokens of another number than the head has."""
        del settings
        if model.head.num_tokens != len(self.tokens):
            raise ValueError(
                f"the head has {model.head.num_tokens} tokens, the tokenizer {len(self.tokens)}"
            )
        self.search, self.counts = CTCSearch(self.tokens), new_counts()

    def dataset(
        self, model: RecognitionModel, rows: Sequence[Utterance], role: str
    ) -> LabelledDataset:
        """Give whole utterances, of which the cache keeps the states of a frozen representation."""
        hparams = self.hparams
        if role != "train":
            rows = self.choose(rows, role)
        cache = None if role == "test" else hparams["cache_folder"]
        read = reader(model.representation, cache, rows, self.progress)
        if role != "train":
            return LabelledDataset(rows, self.labels[role], read)
        together = global_batch_size(hparams["batch_size"])
        group = together if hparams["group_by_length"] else 1
        sizes = {"batch_size": group, "seed": hparams["seed"]}
        return LabelledDataset(rows, self.labels[role], read, self.items_per_epoch, **sizes)

    def loss(self, model: RecognitionModel, batch: PaddedBatch) -> dict[str, Tensor]:
        """Compute the mean over utterances of CTC's loss for each label."""
        log_probs, lens = self.predict(model, batch)
        labels, label_lens = batch.labels
        blank = self.tokens.blank
        return {"ctc": ctc_loss(log_probs, labels, lens, label_lens, blank, reduction="mean")}

    def scores(self, model: RecognitionModel, batch: PaddedBatch) -> Iterator[ItemScores]:
        """Count the errors of each utterance, in words and characters."""
        heard, found = self.search(*self.predict(model, batch)), new_counts()
        for counts in (found, self.counts):
            count_errors(counts, list(map(str, batch.id)), heard, list(batch.wrd))
        for words, characters in zip(found["wer"].scores, found["cer"].scores, strict=True):
            item = {}
            for name, errors in (("wer", words), ("cer", characters)):
                item[f"{name} errors"] = float(errors["num_edits"])
                item[f"{name} tokens"] = float(errors["num_ref_tokens"])
            yield item

    def summarize(self, scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Divide all errors by all words, or characters, of the transcripts."""
        return {
            name: 100 * float(scores[f"{name} errors"].sum() / scores[f"{name} tokens"].sum())
            for name in self.metrics
            if f"{name} errors" in scores
        }

    def evaluate(self, model: RecognitionModel, rows: Splits, label: str) -> dict[str, Summary]:
        """Transcribe the test utterances, and write what was heard, aligned with what was said.

        Parameters
        ----------
        model : TaskModel
            In eval mode.
        rows : dict of str to list
            Of :meth:`rows`.
        label : str
            Of the table's row; names the files of alignments.
        """
        # an untrained model has no peaks, which is where a beam takes its speed from
        chosen = {} if label == AT_THE_START else {key: self.hparams[key] for key in SEARCH_KEYS}
        self.search, self.counts = CTCSearch(self.tokens, **chosen), new_counts()
        table = super().evaluate(model, rows, label)
        write_alignments(self.folder, label, self.counts)
        self.search = CTCSearch(self.tokens)
        return table

    def extra_files(self) -> dict[str, bytes]:
        """Give the tokenizer."""
        return {self.tokens.path.name: self.tokens.path.read_bytes()}

    def card(self, model: RecognitionModel) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        kind = {"char": "characters"}.get(self.tokens.kind, f"{self.tokens.kind} pieces")
        return {
            "title": "WavCube recogniser",
            "summary": f"A CTC recogniser of {len(self.tokens) - 1} {kind} on "
            f"{type(model.representation).__name__}, made by a WavCube recipe. It knows the "
            "kind of speech and the words that it was trained on.",
        }


def new_counts() -> dict[str, ErrorRateStats]:
    """Return SpeechBrain's counters of word ("wer") and character errors ("cer")."""
    return {"wer": ErrorRateStats(), "cer": ErrorRateStats(split_tokens=True, space_token=" ")}


def count_errors(
    errors: Mapping[str, ErrorRateStats], names: list[str], heard: list[str], said: list[str]
) -> None:
    """Count the errors of texts.

    Parameters
    ----------
    errors : Mapping of str to ErrorRateStats
        Of :func:`new_counts`.
    names : list of str
        IDs of the utterances.
    heard, said : list of str
        What was recognised, and the transcripts.

    Examples
    --------
    >>> errors = new_counts()
    >>> count_errors(errors, ["a"], ["ONE TOO"], ["ONE TWO"])
    >>> [round(stats.summarize("error_rate"), 1) for stats in errors.values()]
    [50.0, 14.3]
    """
    for stats in errors.values():
        stats.append(names, [text.split() for text in heard], [text.split() for text in said])


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
    head: Any = build({**release_config(released)["head"], "num_tokens": num_tokens})
    known = released.head.state_dict().items()
    kept = {name: value for name, value in known if not name.startswith("output.")}
    head.load_state_dict({**head.state_dict(), **kept})
    return RecognitionModel(released.representation, head)


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
