"""What an error says: whose it is, and which kind a status stands for."""

from http import HTTPStatus
from typing import TypeVar

from ..errors import (
    AccessDeniedError,
    AuthenticationError,
    BlobChangedError,
    BlobError,
    BlobTimeoutError,
    PathNotFoundError,
    ProtocolError,
)
from .fields import retry_after
from .head import Head

__all__ = ["Subject", "refusal"]

E = TypeVar("E", bound=BlobError)

_KINDS: dict[int, type[BlobError]] = {
    401: AuthenticationError,
    403: AccessDeniedError,
    404: PathNotFoundError,
    407: AuthenticationError,
    408: BlobTimeoutError,
    410: PathNotFoundError,
    451: AccessDeniedError,
}


class Subject:
    """What errors are about: a driver's name, and a blob's path without its secrets."""

    __slots__ = ("driver", "shown")

    def __init__(self, driver: str, shown: str) -> None:
        self.driver = driver
        self.shown = shown

    def error(
        self,
        kind: type[E],
        message: str,
        *,
        errno: int | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> E:
        """Make an error of this kind, to be raised."""
        return kind(
            message,
            driver=self.driver,
            path=self.shown,
            errno=errno,
            status=status,
            retry_after=retry_after,
        )


def refusal(subject: Subject, head: Head, *, pinned: bool = False) -> BlobError:
    """Make the error that an answer without the blob's bytes stands for.

    Neither the body nor the server's own reason is shown: both have echoed credentials.
    """
    status = head.status
    kind = _KINDS.get(status, BlobError)
    message = f"the server answered {status} {_phrase(status)}".rstrip()
    if status == 412 and pinned:
        kind = BlobChangedError
        message = "the blob is no longer the version that was opened"
    elif status < 400:
        kind = ProtocolError
        message += ", which is no answer to a GET of a range"
    return subject.error(kind, message, status=status, retry_after=retry_after(head.fields))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
