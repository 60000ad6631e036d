"""``blobread get``: a blob into a local file."""

import argparse
import os
from functools import partial

from ..digest import parse_digest
from ..whole.download import download
from .progress import progress_bar

__all__ = ["add_to"]


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    about = "copy a blob into a file, which appears whole or not at all"
    parser = commands.add_parser("get", help=about, description=about, allow_abbrev=False)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("file", metavar="FILE", help="one that exists is replaced at the end")
    parser.add_argument(
        "--verify",
        metavar="DIGEST",
        type=_digest,
        help="sha256:... or sha512:...; bytes with another digest are an error, and thrown away",
    )
    parser.add_argument(
        "-c",
        "--continue",
        dest="resume",
        action="store_true",
        help="keep what has come if it fails, beside FILE, and go on from there the next time",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="without a progress bar")
    parser.set_defaults(run=_run)


def _digest(text: str) -> str:
    try:
        return parse_digest(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(given: argparse.Namespace) -> None:
    get = partial(download, given.url, given.file, verify=given.verify, resume=given.resume)
    if given.quiet:
        get()
        return
    with progress_bar(os.path.basename(given.file)) as show:
        get(on_progress=show)
