"""What is tried again, and how often: the policy, and which failures may pass by themselves."""

import errno
from dataclasses import dataclass
from typing import Self

from ..errors import (
    BlobChangedError,
    BlobTimeoutError,
    DigestMismatchError,
    ProtocolError,
    RangeNotSupportedError,
    RetriesExhaustedError,
    TruncatedBlobError,
    UnsafeRedirectError,
)

__all__ = ["Retry", "is_transient"]

_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

# An InvalidPathError, an io.UnsupportedOperation and a certificate that is not trusted are all
# both OSError and ValueError.
_FINAL = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    TypeError,
    ValueError,
    BlobChangedError,
    DigestMismatchError,
    ProtocolError,
    RangeNotSupportedError,
    RetriesExhaustedError,
    UnsafeRedirectError,
)

# Of plain OSErrors: what asking again cannot change. All others may pass.
_FINAL_ERRNOS = frozenset(
    {
        errno.EBADF,
        errno.EBADMSG,
        errno.EFAULT,
        errno.EINVAL,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENODEV,
        errno.ENOSPC,
        errno.ENOSYS,
        errno.ENXIO,
        errno.EOPNOTSUPP,
        errno.EPROTO,
        errno.EROFS,
        errno.ESTALE,
    }
)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and for how long, a blob is asked for again after a failure.

    Only what may pass by itself is tried again: broken connections, timeouts, streams that ended
    early, and the statuses 408, 425, 429, 500, 502, 503 and 504. A stream goes on at the byte
    where it broke.

    Parameters
    ----------
    max_retries : int
        Retries in a row that bring nothing; 0 is off. 64 KiB of progress begin a new row.
    retry_timeout : float
        Seconds, from the first failure within one read of a stream on, after which that read is
        given up. A request that is under way then is cut, unless it has brought a byte: bytes
        that come, however slowly, are waited for.
    init_backoff, max_backoff : float
        Seconds: pauses are drawn from ``[init_backoff, 3 * the last pause]`` ("decorrelated
        jitter", M. Brooker, AWS Architecture Blog, 2015), and are no longer than `max_backoff`.
        A ``Retry-After`` of the server lengthens a pause beyond that.

    Raises
    ------
    TypeError, ValueError
        For a count that is no int, or anything negative.
    """

    max_retries: int = 5
    retry_timeout: float = 180.0
    init_backoff: float = 0.05
    max_backoff: float = 5.0

    def __post_init__(self) -> None:
        if not isinstance(self.max_retries, int) or isinstance(self.max_retries, bool):
            raise TypeError(f"max_retries must be an int, not {self.max_retries!r}")
        for name in self.__slots__:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)!r}")

    @classmethod
    def of(cls, value: "Retry | int | bool | None") -> Self:
        """Make a policy: None and True are the default, False and 0 are off, an int counts.

        Raises
        ------
        TypeError, ValueError
        """
        if isinstance(value, cls):
            return value
        if value is None or value is True:
            return cls()
        if isinstance(value, int):
            return cls(max_retries=int(value))
        raise TypeError(f"retry must be a blobread.Retry, an int, a bool or None, not {value!r}")


def is_transient(error: BaseException) -> bool:
    """Tell whether a failure may pass by itself.

    Of a driver's own OSErrors every one may, but those whose class, ``status`` or ``errno`` says
    otherwise; an error that is no OSError is a mistake in somebody's code.
    """
    if not isinstance(error, OSError) or isinstance(error, _FINAL):
        return False
    if isinstance(error, (TruncatedBlobError, BlobTimeoutError)):
        return True
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status in _PASSING_STATUSES
    cause = error.__cause__
    if isinstance(cause, OSError) and isinstance(cause, _FINAL):
        return False  # as that of a connection which was not made: a certificate, for instance
    return error.errno not in _FINAL_ERRNOS
