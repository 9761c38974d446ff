"""A folder of features, read."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from wavcube.features.shards import BAD, Description, Index, ShardRecord, read_features, shard_path


class FeatureFolder:
    """Features that :func:`~wavcube.features.extract` or `wavcube extract` wrote, by segment.

    No file stays open, so that it can be shared among threads and given to workers.

    Parameters
    ----------
    folder : str or Path
        The folder; may have been moved.

    Raises
    ------
    FileNotFoundError
        If there is none, or the extraction is not complete.
    ValueError
        If it is broken.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from wavcube.data.audio import write_audio
    >>> from wavcube.features import extract
    >>> from wavcube.representations import MelRepresentation
    >>> from wavcube.testing import tone
    >>> tmp = getfixture("tmp_path")
    >>> for seed, name in enumerate("ab"):
    ...     write_audio(tmp / "speech" / f"{name}.wav", tone(0.2, seed), 16000)
    >>> _ = extract(tmp / "speech", tmp / "out", partial(MelRepresentation, 4))
    >>> features = FeatureFolder(tmp / "out")
    >>> len(features), list(features), features["a"].shape, features.frame_rate
    (2, ['a', 'b'], torch.Size([10, 8]), 50.0)
    >>> white = (torch.cat([features[name] for name in features]) - features.mean) / features.std
    >>> torch.allclose(white.std(dim=0, correction=0), torch.ones(8))
    True
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.description = Description.load(self.folder)
        self._index = Index.load(self.folder)

    @property
    def mean(self) -> Tensor:
        """Of every channel over all frames, `[C]` or `[S, C]`, float32."""
        return self._index.mean.float()

    @property
    def std(self) -> Tensor:
        """Standard deviation of every channel over all frames, `[C]` or `[S, C]`, float32."""
        return self._index.std.float()

    @property
    def sample_rate(self) -> int:
        """Of the waveforms that the model took, in Hz."""
        return self.description.sample_rate

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.description.hop

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame: `(C,)`, or `(S, C)` where there are several states."""
        return self.description.shape

    @property
    def model_hash(self) -> str:
        """Of the representation, for latents :func:`wavcube.release.folder.latent_hash`."""
        return self.description.model_hash

    @property
    def num_frames(self) -> int:
        """Of all segments together."""
        return int(self._index.columns["frames"].sum())

    def __len__(self) -> int:
        """Return how many segments there are."""
        return len(self._index.columns["keys"])

    def __contains__(self, name: object) -> bool:
        """Tell whether there are features of a segment."""
        with suppress(KeyError):
            return isinstance(name, str) and bool(self._index.find(name))
        return False

    def __getitem__(self, name: str) -> Tensor:
        """Read the features of a segment, `[N, C]` or `[N, S, C]`, in the stored precision."""
        shard, row = self._index.find(name)
        return read_features(self._path(shard), self.description.form.file_format, row)

    def __iter__(self) -> Iterator[str]:
        """Go through the ids, in the manifest's order."""
        for shard in range(self.description.num_shards):
            for row in ShardRecord.load(self._path(shard)).rows:
                yield row.id

    def num_samples(self, name: str) -> int:
        """Give the samples of a segment's waveform, for a decoder to give as many.

        Parameters
        ----------
        name : str
            Its id.

        Raises
        ------
        KeyError
            If there are no features of it.
        """
        return self._index.find(name)[1].samples

    def bad(self) -> dict[str, str]:
        """List the segments that were left out, with the reasons."""
        with (self.folder / BAD).open(newline="", encoding="utf-8") as file:
            return {row["ID"]: row["reason"] for row in csv.DictReader(file)}

    def _path(self, shard: int) -> Path:
        return shard_path(self.folder, shard, self.description.form.file_format)
