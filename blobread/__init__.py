"""Read any blob, anywhere, straight into your memory.

`open` gives a binary file; `fromfile` an array; `stat` what the store says of a blob.
"""

import builtins
from typing import TYPE_CHECKING, Any

from ._reader import BlobReader, ReaderStats
from .arrays import fromfile
from .driver import BlobInfo, RawStream, StorageDriver
from .errors import (
    AccessDeniedError,
    AuthenticationError,
    BlobChangedError,
    BlobError,
    BlobIsDirectoryError,
    BlobTimeoutError,
    DigestMismatchError,
    InvalidOffsetError,
    InvalidPathError,
    MissingDependencyError,
    PathNotFoundError,
    ProtocolError,
    RangeNotSupportedError,
    RetriesExhaustedError,
    TruncatedBlobError,
    UnsafeRedirectError,
)
from .opening import link, list, open, stat
from .schemes import register_scheme

if TYPE_CHECKING:
    from .transfer.budget import memory_budget, set_memory_budget
    from .transfer.links import LinkInfo
    from .transfer.retry import Retry
    from .whole.download import download
    from .whole.many import read_many

__version__ = "0.1.0.dev0"

__all__ = [
    "AccessDeniedError",
    "AuthenticationError",
    "BlobChangedError",
    "BlobError",
    "BlobInfo",
    "BlobIsDirectoryError",
    "BlobReader",
    "BlobTimeoutError",
    "DigestMismatchError",
    "InvalidOffsetError",
    "InvalidPathError",
    "LinkInfo",
    "MissingDependencyError",
    "PathNotFoundError",
    "ProtocolError",
    "RangeNotSupportedError",
    "RawStream",
    "ReaderStats",
    "RetriesExhaustedError",
    "Retry",
    "StorageDriver",
    "TruncatedBlobError",
    "UnsafeRedirectError",
    "download",
    "fromfile",
    "link",
    "list",
    "memory_budget",
    "open",
    "read_many",
    "register_scheme",
    "set_memory_budget",
    "stat",
]

# What needs the engine is imported when it is first used: who reads a local file never does.
_LATER = {
    "LinkInfo": "transfer.links",
    "Retry": "transfer.retry",
    "download": "whole.download",
    "memory_budget": "transfer.budget",
    "read_many": "whole.many",
    "set_memory_budget": "transfer.budget",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "parquet":
        return import_module(".parquet", __name__)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> "builtins.list[str]":
    return sorted({*globals(), *_LATER, "parquet"})
