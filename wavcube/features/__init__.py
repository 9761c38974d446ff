"""Features of large corpora: extracted once, in shards, and read by segment."""

from wavcube.features.cluster import RayData
from wavcube.features.engines import Processes
from wavcube.features.extract import extract
from wavcube.features.folder import FeatureFolder
from wavcube.features.shards import Form

__all__ = ["FeatureFolder", "Form", "Processes", "RayData", "extract"]
