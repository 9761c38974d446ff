"""How a mistake is told: one line, with the name that the user gave, and an exit code."""

from __future__ import annotations

USER_ERROR = 2
# 128 and the number of SIGINT, as shells have it
INTERRUPTED = 130
# 128 and the number of SIGPIPE
OUTPUT_CLOSED = 141


def one_line(error: BaseException | str) -> str:
    """Say what went wrong in one line.

    Parameters
    ----------
    error : BaseException or str
        What was raised, or the text itself.

    Returns
    -------
    str
        The message; line breaks become spaces. Of an error of the operating system the file and
        the reason, without the number.

    Examples
    --------
    >>> one_line(PermissionError(13, "Permission denied", "speech.wav"))
    'speech.wav: Permission denied'
    >>> one_line(KeyError("no stage 7"))
    'no stage 7'
    """
    if isinstance(error, KeyError) and error.args:
        error = str(error.args[0])  # str() of a KeyError is the repr of its message
    elif isinstance(error, OSError) and error.strerror and error.filename is not None:
        error = f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def last_line(error: Exception) -> str:
    r"""Say what went wrong without the traceback that a message begins with.

    Parameters
    ----------
    error : Exception
        Of a library that puts all of its own doings before the reason.

    Returns
    -------
    str
        The last line of the message.

    Examples
    --------
    >>> last_line(RuntimeError("Traceback of TorchScript:\n  file.py\nRuntimeError: too short"))
    'RuntimeError: too short'
    """
    return str(error).strip().rpartition("\n")[2]
