"""Manifests of millions of segments: JSON lines and tar shards, indexed and read row by row."""

from wavcube.data.segments.audio import open_segment, read_segment
from wavcube.data.segments.collection import Segments, is_segments, open_segments
from wavcube.data.segments.row import Segment

__all__ = [
    "Segment",
    "Segments",
    "is_segments",
    "open_segment",
    "open_segments",
    "read_segment",
]
