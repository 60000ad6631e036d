"""``blobread cat``: the bytes of a blob, to standard output."""

import argparse
import errno
import io
import re
import sys
from typing import NamedTuple

from .._reader import BlobReader
from ..errors import InvalidOffsetError
from ..opening import open as open_blob
from ..whole.download import chunks

__all__ = ["add_to"]

_RANGE = re.compile(r"([0-9]{0,19})-([0-9]{0,19})")


class Range(NamedTuple):
    """As in a request of HTTP: both ends belong to it; without `first`, it is the last bytes."""

    first: int | None
    last: int | None


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    about = "write the bytes of a blob to standard output"
    parser = commands.add_parser("cat", help=about, description=about, allow_abbrev=False)
    parser.add_argument("url", metavar="URL")
    parser.add_argument(
        "--range",
        metavar="A-B",
        type=_range,
        help="only the bytes A to B, both included, the first is 0; A- from A on; -N the last N",
    )
    parser.set_defaults(run=_run)


def _range(text: str) -> Range:
    match = _RANGE.fullmatch(text)
    first, last = (int(end) if end else None for end in match.groups()) if match else (None, None)
    if first is None and not last:
        raise argparse.ArgumentTypeError(f"{text!r} is no range: write A-B, A- or -N")
    if first is not None and last is not None and last < first:
        raise argparse.ArgumentTypeError(f"the range {text} ends before it begins")
    if max(first or 0, last or 0) >= 2**63 - 1:
        raise argparse.ArgumentTypeError(f"the range {text} lies beyond what any blob has")
    return Range(first, last)


def _run(given: argparse.Namespace) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    with open_blob(given.url) as blob:
        count = None if given.range is None else _go_to(blob, given.range)
        done = 0
        for chunk in chunks(blob, count):
            _write(chunk)
            done += len(chunk)
        if done == 0 and given.range is not None and given.range.first is not None:
            raise InvalidOffsetError(
                f"no byte of the blob, which has {blob.size}, is in the range", path=blob.info.path
            )


def _write(chunk: memoryview) -> None:
    # Where Python is told not to buffer, this is a raw file, which may take only a part.
    while chunk:
        chunk = chunk[sys.stdout.buffer.write(chunk) :]


def _go_to(blob: BlobReader, wanted: Range) -> int | None:
    """Move to where the range begins; tell how many bytes it has, None for all that are left."""
    if wanted.first is None:
        assert wanted.last is not None
        size = blob.seek(0, io.SEEK_END)
        blob.seek(max(0, size - wanted.last))
        return None
    blob.seek(wanted.first)
    return None if wanted.last is None else wanted.last + 1 - wanted.first
