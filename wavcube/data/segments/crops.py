"""Random crops of the segments of a large manifest."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wavcube.data.crops import Crops, gain_to
from wavcube.data.segments.audio import BadReads, open_segment
from wavcube.data.segments.collection import JoinedSegments, Segments
from wavcube.data.segments.row import Segment

__all__ = ["SegmentCrops"]


class SegmentCrops(Crops):
    """A virtual epoch of random crops, as :class:`~wavcube.data.crops.CropDataset` has.

    Of a long recording no more than the crop is decoded. A segment that cannot be read is logged
    and another one drawn in its place, from the same source of random numbers.

    Parameters
    ----------
    segments : Segments or JoinedSegments
        What to draw from, in proportion to the durations.
    crop_seconds, crops_per_epoch, sample_rate, seed, peak_db
        As :class:`~wavcube.data.crops.CropDataset` takes them.
    max_bad_fraction : float
        How many of the segments drawn may be unreadable before it raises.

    Raises
    ------
    ValueError
        When a number is out of range.

    Examples
    --------
    >>> import soundfile, torch
    >>> from wavcube.data.segments import open_segments
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "long.wav", 0.1 * torch.randn(32000).numpy(), 16000)
    >>> row = '{"id": "a", "path": "long.wav", "start": 1, "duration": 0.75}'
    >>> _ = (folder / "a.jsonl").write_text(row)
    >>> crops = SegmentCrops(open_segments(folder / "a.jsonl"), crop_seconds=0.5,
    ...     crops_per_epoch=4, sample_rate=16000, seed=1)
    >>> crops[3]["wav"].shape
    torch.Size([8000])
    """

    def __init__(
        self,
        segments: Segments | JoinedSegments,
        *,
        crop_seconds: float,
        crops_per_epoch: int,
        sample_rate: int,
        seed: int,
        peak_db: tuple[float, float] = (-6.0, -1.0),
        max_bad_fraction: float = 0.01,
    ) -> None:
        super().__init__(
            crop_seconds=crop_seconds,
            crops_per_epoch=crops_per_epoch,
            sample_rate=sample_rate,
            seed=seed,
            peak_db=peak_db,
        )
        self.segments, self.reads = segments, BadReads(max_bad_fraction)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return crop `index` of this epoch: "id" and "wav" `[n]`, n <= crop_samples, float32."""
        rng = self.generator(index)
        while True:
            number, position = self.segments.draw(rng), rng.random()
            peak_db = rng.uniform(*self.peak_db)
            try:
                segment = self.segments[number]
                wav = self._read(segment, position)
            except (ValueError, OSError) as error:
                self.reads.failed(error)
                continue
            self.reads.succeeded()
            return {"id": segment.id, "wav": wav * gain_to(wav, peak_db)}

    def _read(self, segment: Segment, position: float) -> Tensor:
        with open_segment(segment) as opened:
            frames = -(-self.crop_samples * opened.file.samplerate // self.sample_rate)
            # a uniform draw over the offsets 0..spare, both included
            spare = max(0, opened.frames - frames)
            offset = min(spare, int(position * (spare + 1)))
            wav = opened.read(offset, min(frames, opened.frames), self.sample_rate)
        return wav[: self.crop_samples]
