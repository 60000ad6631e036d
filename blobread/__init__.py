"""Read any blob, anywhere, straight into your memory.

`open` gives a binary file; `fromfile` an array; `stat` what the store says of a blob.
"""

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
from .opening import list, open, stat
from .schemes import register_scheme

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
    "MissingDependencyError",
    "PathNotFoundError",
    "ProtocolError",
    "RangeNotSupportedError",
    "RawStream",
    "ReaderStats",
    "RetriesExhaustedError",
    "StorageDriver",
    "TruncatedBlobError",
    "UnsafeRedirectError",
    "fromfile",
    "list",
    "open",
    "register_scheme",
    "stat",
]
