"""The failures of one stream, and the pauses between its attempts."""

import threading
import time
from contextlib import suppress
from typing import TypeVar

from ..errors import BlobError, BlobTimeoutError, RetriesExhaustedError
from .retry import Retry, is_transient
from .tokens import bucket

__all__ = ["PROGRESS", "Attempts"]

E = TypeVar("E", bound=BlobError)

# Bytes after which a failure is the first of a new row. Less than that, and a server that hangs
# up after each few bytes would be asked without end.
PROGRESS = 64 * 1024

# Where a wait cannot be interrupted (on Windows), Ctrl-C is seen after so many seconds.
_SLICE = 0.25


class Attempts:
    """Counts the failures of one stream, and waits before it is tried again.

    Parameters
    ----------
    retry : Retry
    driver, path : str
        For messages.
    shown : str
        The path as it may be printed.

    Attributes
    ----------
    deadline : float or None
        On the clock of `time.monotonic`; None: there was no failure within this read.
    """

    def __init__(self, retry: Retry, driver: str, path: str, shown: str) -> None:
        self.deadline: float | None = None
        self._retry = retry
        self._driver = driver
        self._path = path
        self._shown = shown
        self._count = 0
        self._pause = retry.init_backoff
        self._paid = 0
        self._has_warned = False
        self._asked_again: set[int] = set()
        self._gate = threading.Lock()  # for an Event's wait an interrupt is dangerous
        self._gate.acquire()

    def failed(
        self, error: Exception, progress: int = 0, *, had_access: bool = False, at: int = 0
    ) -> Exception | None:
        """Return None when it is time to try again; or at once, what to raise.

        It is returned, for who raises a parameter of its own makes a cycle, by which memory of
        the caller would live until the collector finds it.

        Parameters
        ----------
        error : Exception
            The failure.
        progress : int
            Bytes that came since the last failure.
        had_access : bool
            Whether the blob could be read before: then a 403 means that a signed URL or a token
            has expired, and a new one is asked for, once.
        at : int
            The offset, for the log.

        Returns
        -------
        Exception or None
            `error` itself, if trying again is of no use, or is off. Else a RetriesExhaustedError
            or a BlobTimeoutError, to be raised from it.
        """
        if progress >= PROGRESS:
            self._begin_row()
        if not self._retry.max_retries:
            return error
        if self._may_ask_again(error, had_access):
            self._log(error, 0.0, at)
            return None
        if not is_transient(error):
            return error
        self._count += 1
        now = time.monotonic()
        if self.deadline is None:
            self.deadline = now + self._retry.retry_timeout
        left = self.deadline - now
        verdict = self._verdict(error, left)
        if verdict is not None:
            return verdict
        pause = self._next_pause(error, left)
        self._log(error, pause, at)
        self._wait(pause)
        return None

    def begin_call(self) -> None:
        """Note that a read begins: the deadline is not for what the reader did in between."""
        self.deadline = None

    def succeeded(self) -> None:
        """Note that the request has ended well."""
        bucket.give(self._paid or bucket.gain)
        self._paid = 0
        self._begin_row()

    def wake(self) -> None:
        """End the pause, and each later one, at once. From any thread."""
        with suppress(RuntimeError):
            self._gate.release()

    def late(self, error: BaseException) -> BlobTimeoutError:
        """Make the error of a deadline that has passed."""
        timeout = self._retry.retry_timeout
        message = f"no progress within {timeout:g} s of the first failure"
        return self._error(BlobTimeoutError, error, message)

    def _begin_row(self) -> None:
        self._count = 0
        self._pause = self._retry.init_backoff
        self.deadline = None

    def _may_ask_again(self, error: Exception, had_access: bool) -> bool:
        status = getattr(error, "status", None)
        if (status != 401 and not (status == 403 and had_access)) or status in self._asked_again:
            return False
        self._asked_again.add(status)
        return True

    def _verdict(self, error: Exception, left: float) -> BlobError | None:
        """Give what to raise, if this was one failure too many, or too late; else pay for a retry.

        `left` is the time until the deadline.
        """
        if self._count > self._retry.max_retries:
            message = f"gave up after {self._count} failures in a row"
            return self._error(
                RetriesExhaustedError, error, f"{message}; Retry(max_retries=...) allows more"
            )
        if left <= 0:
            return self.late(error)
        wanted = getattr(error, "retry_after", None) or 0.0
        if wanted >= left:
            message = f"the server wants to be asked again after {wanted:g} s only"
            return self._error(
                BlobTimeoutError, error, f"{message}; Retry(retry_timeout=...) allows it"
            )
        if not bucket.take():
            message = "not tried again, as too many requests of this process have failed lately"
            return self._error(RetriesExhaustedError, error, message)
        self._paid += bucket.cost
        return None

    def _next_pause(self, error: Exception, left: float) -> float:
        import random  # here: of those who read, few meet a failure

        retry = self._retry
        longest = min(max(3 * self._pause, retry.init_backoff), retry.max_backoff)
        self._pause = random.uniform(min(retry.init_backoff, longest), longest)
        wanted = getattr(error, "retry_after", None) or 0.0
        # Half of the time that is left is for the attempt.
        return float(max(min(self._pause, left / 2), wanted))

    def _wait(self, seconds: float) -> None:
        stop = time.monotonic() + seconds
        while (left := stop - time.monotonic()) > 0:
            if self._gate.acquire(timeout=min(left, _SLICE)):
                self.wake()
                return

    def _log(self, error: Exception, pause: float, at: int) -> None:
        import logging

        logger = logging.getLogger("blobread.transfer")
        logger.log(
            logging.DEBUG if self._has_warned else logging.WARNING,
            "%s: trying again in %.2f s, from byte %d on, after: %s: %r",
            self._driver,
            pause,
            at,
            self._told(error),
            self._shown,
        )
        self._has_warned = True

    def _told(self, error: BaseException) -> str:
        """What an error says, without the name and the path that are put around it anyway."""
        if isinstance(error, BlobError):
            text = str(error).removeprefix(f"{error.driver}: ").removesuffix(f": {error.path!r}")
        else:
            text = f"{type(error).__name__}: {error}"
        return text.replace(self._path, self._shown) if self._path else text

    def _error(self, kind: type[E], error: BaseException, message: str) -> E:
        return kind(
            f"{message}. The last one: {self._told(error)}",
            driver=self._driver,
            path=self._shown,
            status=getattr(error, "status", None),
            retry_after=getattr(error, "retry_after", None),
        )
