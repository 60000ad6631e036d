"""What is compared: a name, and how it opens a file or reads from a web server."""

import io
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clients
import fsspec
import pyarrow
from twin import Twin

import blobread

__all__ = ["CLIENTS", "FILES"]


def _buffered(path: str) -> io.BufferedReader:
    return open(path, "rb")


def _mapped(path: str) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


# Any: what they give has the methods of a binary file, and no type in common.
FILES: dict[str, Callable[[str], Any]] = {
    "blobread": blobread.open,
    "open()": _buffered,
    "FileIO": io.FileIO,
    "BytesIO": lambda path: io.BytesIO(Path(path).read_bytes()),
    "mmap": _mapped,
    "twin": Twin,
    "pyarrow": pyarrow.OSFile,
    "fsspec": lambda path: fsspec.open(path, "rb").open(),
}

CLIENTS: dict[str, Callable[[str], clients.Client]] = {
    "blobread": clients.Blobread,
    "bare socket": clients.BareSocket,
    "http.client": clients.HttpClient,
    "urllib3": clients.Urllib3,
    "fsspec": clients.Fsspec,
    "obstore": clients.Obstore,
}
