"""The command line: ``blobread stat | cat | get | bench``."""

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import BlobError, MissingDependencyError
from . import bench, cat, get, stat

__all__ = ["main"]

_FAILED = 1
# What a shell reports of a program that these signals have ended: 128 and the signal's number.
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of those of the process.

    Returns
    -------
    int
        The exit status: 0; 1 after an error, of which one line on stderr tells; 130 after
        Ctrl-C; 141 if nobody reads what is written any more.

    Raises
    ------
    SystemExit
        With 2, if the arguments make no sense; with 0, after ``--help`` and ``--version``.
    """
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return _BROKEN_PIPE
    except (OSError, MissingDependencyError, MemoryError) as error:
        print(f"blobread: {_one_line(error)}", file=sys.stderr)
        _abandon_stdout()
        return _FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="blobread",
        description="Read blobs: the path of a file, or a URL (file://, http://, https://).",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"blobread {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (stat, cat, get, bench):
        command.add_to(commands)
    return parser


def _one_line(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and not isinstance(error, BlobError) and error.strerror:
        # Without the "[Errno 2]" that Python puts before it.
        text = error.strerror if error.filename is None else f"{error.strerror}: {error.filename!r}"
    return " ".join(text.split())


def _abandon_stdout() -> None:
    """Have the rest go nowhere: Python would try once more at exit, and complain."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
