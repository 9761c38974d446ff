"""Data that need no download: speech of espeak-ng in corpora's layouts, noises and rooms."""

from wavcube.data.synthetic.corpus import CORPUS_FOLDER, make_synthetic_corpus
from wavcube.data.synthetic.noise import NoiseFolders, make_synthetic_noises
from wavcube.data.synthetic.once import default_cache_folder
from wavcube.data.synthetic.vctk import VCTK_FOLDER, make_synthetic_vctk, synthetic_speakers

__all__ = [
    "CORPUS_FOLDER",
    "VCTK_FOLDER",
    "NoiseFolders",
    "default_cache_folder",
    "make_synthetic_corpus",
    "make_synthetic_noises",
    "make_synthetic_vctk",
    "synthetic_speakers",
]
