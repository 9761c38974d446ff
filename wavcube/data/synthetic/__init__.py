"""Data that need no download: speech of espeak-ng in corpora's layouts, noises and rooms."""

from wavcube.data.synthetic.corpus import CORPUS_FOLDER, make_embedded_corpus
from wavcube.data.synthetic.noise_corpus import NoiseFolders, make_embedded_noises
from wavcube.data.synthetic.once import default_cache_folder
from wavcube.data.synthetic.vctk import VCTK_FOLDER, embedded_speakers, make_embedded_vctk

__all__ = [
    "CORPUS_FOLDER",
    "VCTK_FOLDER",
    "NoiseFolders",
    "default_cache_folder",
    "embedded_speakers",
    "make_embedded_corpus",
    "make_embedded_noises",
    "make_embedded_vctk",
]
