"""Speech that needs no download: a corpus spoken by espeak-ng (see `make_embedded_corpus`)."""

from wavcube.data.embedded.corpus import (
    CORPUS_FOLDER,
    default_cache_folder,
    make_embedded_corpus,
)

__all__ = ["CORPUS_FOLDER", "default_cache_folder", "make_embedded_corpus"]
