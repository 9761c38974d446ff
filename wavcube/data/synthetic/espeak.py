"""The espeak-ng synthesiser, as the `espeakng-loader` wheel ships it, through ctypes.

espeak-ng keeps much of its state in global variables that neither `espeak_Terminate` nor a new
voice resets (flutter, echo, the phase of the wave generator, the noise of the Klatt voices), so
the same sentence sounds slightly different the second time. `Espeak` therefore loads a private
copy of the library anew for every utterance, which takes about 0.3 ms, and an utterance's samples
are a pure function of its arguments.
"""

from __future__ import annotations

import _ctypes
import ctypes
import importlib
import logging
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

import numpy as np

__all__ = ["Espeak", "Voice"]

logger = logging.getLogger(__name__)

# speak_lib.h of espeak-ng 1.52
_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Voice:
    """A way of speaking.

    Attributes
    ----------
    accent : str
        An espeak-ng language file, such as "gmw/en-US".
    variant : str
        An espeak-ng voice variant, such as "f2", which sets the timbre.
    sex : str
        "F" or "M".
    pitch : int
        0 to 99; 50 is the variant's own pitch.
    pitch_range : int
        0 (monotone) to 99; 50 is the variant's own.
    rate : int
        Words a minute, 80 to 450.
    """

    accent: str
    variant: str
    sex: str
    pitch: int = 50
    pitch_range: int = 50
    rate: int = 170


class Espeak:
    """Context manager that speaks.

    Raises
    ------
    ImportError
        When the `espeakng-loader` package is missing or its library cannot be loaded.

    Examples
    --------
    >>> with Espeak() as espeak:
    ...     samples, rate = espeak.speak("Hello.", Voice("gmw/en-US", "f2", "F"))
    >>> samples.dtype, rate
    (dtype('int16'), 22050)
    """

    def __init__(self) -> None:
        loader = _import_loader()
        self._data = str(loader.get_data_path()).encode()
        self._folder = tempfile.TemporaryDirectory(prefix="wavcube-espeak-")
        # A private copy: whatever else holds the wheel's own library cannot keep its state alive.
        self._library = Path(
            shutil.copy(loader.get_library_path(), self._folder.name, follow_symlinks=True)
        )

    def __enter__(self) -> Espeak:
        """Return the synthesiser itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the private copy of the library."""
        self.close()

    def close(self) -> None:
        """Delete the private copy of the library; `speak` cannot be called after this."""
        self._folder.cleanup()

    def speak(self, text: str, voice: Voice, seed: int = 1) -> tuple[np.ndarray, int]:
        """Synthesise one utterance.

        Parameters
        ----------
        text : str
            What to say.
        voice : Voice
            How to say it.
        seed : int
            Seed of the noise in voices that use any.

        Returns
        -------
        samples : np.ndarray
            int16 samples, `[T]`.
        sample_rate : int
            In Hz.

        Raises
        ------
        ValueError
            When espeak-ng does not know the voice, or makes no sound of the text.
        """
        library = ctypes.CDLL(str(self._library))
        try:
            samples, sample_rate = self._speak(library, text, voice, seed)
        finally:
            _unload(library)
        if not samples.any():
            raise ValueError(f"espeak-ng made no sound of {text!r} with {voice}")
        return samples, sample_rate

    def _speak(
        self, library: ctypes.CDLL, text: str, voice: Voice, seed: int
    ) -> tuple[np.ndarray, int]:
        chunks: list[bytes] = []

        def collect(wave: ctypes._Pointer, count: int, events: int) -> int:
            if wave and count > 0:
                chunks.append(ctypes.string_at(wave, count * ctypes.sizeof(ctypes.c_short)))
            return 0

        callback = _SYNTH_CALLBACK(collect)
        sample_rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, self._data, _DONT_EXIT)
        if sample_rate <= 0:
            raise RuntimeError(f"espeak-ng cannot start with the data in {self._data.decode()}")
        try:
            library.espeak_SetSynthCallback(callback)
            name = f"{voice.accent}+{voice.variant}"
            if library.espeak_SetVoiceByName(name.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {name!r}")
            settings = {_RATE: voice.rate, _PITCH: voice.pitch, _RANGE: voice.pitch_range}
            for parameter, value in settings.items():
                library.espeak_SetParameter(parameter, value, 0)
            library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
            data = text.encode() + b"\0"
            size = ctypes.c_size_t(len(data))
            status = library.espeak_Synth(
                data, size, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
            )
            if status != 0:
                raise RuntimeError(f"espeak-ng failed (status {status}) on {text!r}")
        finally:
            library.espeak_Terminate()
        return np.frombuffer(b"".join(chunks), dtype=np.int16), sample_rate


def _import_loader() -> ModuleType:
    try:
        loader = importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise ImportError(
            "the synthetic corpus is spoken by espeak-ng, and the package espeakng-loader is "
            "missing: `pip install espeakng-loader`, or pass a data folder of your own"
        ) from error
    if not Path(loader.get_library_path()).is_file():
        raise ImportError(
            f"espeakng-loader has no library at {loader.get_library_path()} for this platform: "
            "reinstall it, or pass a data folder of your own"
        )
    return loader


def _unload(library: ctypes.CDLL) -> None:
    # ctypes has no public way to unload, and Windows has its own name for it.
    close = "FreeLibrary" if sys.platform == "win32" else "dlclose"
    getattr(_ctypes, close)(library._handle)
