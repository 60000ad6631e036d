"""The errors of blobread: each is also the kind of Python's own that a caller would catch.

A message is a whole sentence when it stands alone, so an error survives being
rebuilt from its text, as ``torch``'s and ``multiprocessing``'s workers do.
"""

import errno as _errno
from typing import Any

__all__ = [
    "AccessDeniedError",
    "AuthenticationError",
    "BlobChangedError",
    "BlobError",
    "BlobIsDirectoryError",
    "BlobTimeoutError",
    "DigestMismatchError",
    "InvalidOffsetError",
    "InvalidPathError",
    "MissingDependencyError",
    "PathNotFoundError",
    "ProtocolError",
    "RangeNotSupportedError",
    "RetriesExhaustedError",
    "TruncatedBlobError",
    "UnsafeRedirectError",
]


class BlobError(OSError):
    """A blob could not be read.

    Parameters
    ----------
    message : str
        What was wrong, and what to do where that is known.
    driver : str, optional
        Name of the driver that met the error; it is put in front of the message.
    path : str, optional
        Path of the blob, free of secrets; it is put behind the message.
    errno : int, optional
        Instead of the errno that the class stands for.
    status : int, optional
        The HTTP status that was answered, where there was one.
    retry_after : float, optional
        Seconds after which the server asks to be asked again.

    Attributes
    ----------
    driver, path : str or None
    status : int or None
    retry_after : float or None
        In seconds.
    """

    default_errno = _errno.EIO

    driver: str | None
    path: str | None
    status: int | None
    retry_after: float | None

    def __init__(
        self,
        message: str = "",
        *,
        driver: str | None = None,
        path: str | None = None,
        errno: int | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        text = f"{driver}: {message}" if driver else message
        if path is not None:
            text = f"{text}: {path!r}"
        super().__init__(text)
        self.errno = self.default_errno if errno is None else errno
        self.strerror = text
        self.filename = path
        self.driver = driver
        self.path = path
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        # OSError would print "[Errno n] text: 'filename'", and say the path twice.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # errno, strerror and filename live in OSError's struct, not in __dict__.
        members = {"errno": self.errno, "strerror": self.strerror, "filename": self.filename}
        return type(self), self.args, {**self.__dict__, **members}


class PathNotFoundError(BlobError, FileNotFoundError):
    """There is no blob at the path."""

    default_errno = _errno.ENOENT


class BlobIsDirectoryError(BlobError, IsADirectoryError):
    """The path names a directory, which has no bytes to read."""

    default_errno = _errno.EISDIR


class AccessDeniedError(BlobError, PermissionError):
    """The store knows the caller, or needs no name, and refuses the blob."""

    default_errno = _errno.EACCES


class AuthenticationError(BlobError, PermissionError):
    """The store asks for credentials, or does not accept those it was given."""

    default_errno = _errno.EACCES


class InvalidPathError(BlobError, ValueError):
    """The path or URL can name no blob of this driver."""

    default_errno = _errno.EINVAL


class InvalidOffsetError(BlobError, ValueError):
    """A stream was asked for at an offset that no blob has."""

    default_errno = _errno.EINVAL


class BlobChangedError(BlobError):
    """The blob is no longer the version that was opened; open it again for the new one."""

    default_errno = _errno.ESTALE


class TruncatedBlobError(BlobError):
    """A stream ended before the bytes that it had promised."""


class DigestMismatchError(BlobError):
    """All bytes came, and they are not those that the digest stands for."""

    default_errno = _errno.EBADMSG


class ProtocolError(BlobError):
    """A server or a driver answered what its protocol does not allow."""

    default_errno = _errno.EPROTO


class RangeNotSupportedError(BlobError):
    """The server sends whole blobs only, and the bytes wanted lie too far in."""

    default_errno = _errno.EOPNOTSUPP


class RetriesExhaustedError(BlobError):
    """Every try failed; ``__cause__`` is the last failure."""


class BlobTimeoutError(BlobError, TimeoutError):
    """Nothing arrived within the idle or the connect timeout, or a deadline passed."""

    default_errno = _errno.ETIMEDOUT


class UnsafeRedirectError(BlobError):
    """A server sent us where a careful client does not go."""

    default_errno = _errno.EPERM


# No BlobError: the layouts of OSError and ImportError in C cannot be combined in one class.
class MissingDependencyError(ImportError):
    """A part of blobread needs a package that is not installed; the message names the extra."""
