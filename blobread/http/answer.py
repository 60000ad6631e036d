"""An answer to a request, before its body is read."""

import time

from . import pool
from .connection import Connection, time_left
from .fields import content_length
from .head import Head, Malformed
from .refusal import Subject

__all__ = ["Answer"]

_LARGEST_DRAIN = 64 * 1024
_LONGEST_DRAIN = 1.0  # seconds; to connect anew does not take longer


class Answer:
    """A head, and the connection that its body comes by.

    Attributes
    ----------
    taken : int
        How many bytes of the body were received in their place already, as the head was just the
        one expected; -1: it is still to be accepted.
    """

    __slots__ = ("connection", "head", "is_bare", "rest", "subject", "taken")

    def __init__(
        self,
        connection: Connection,
        head: Head,
        rest: memoryview,
        subject: Subject,
        is_bare: bool,
        taken: int = -1,
    ) -> None:
        self.connection = connection
        self.head = head
        self.rest = rest
        self.subject = subject
        self.is_bare = is_bare
        self.taken = taken

    def close(self) -> None:
        self.connection.close()

    def discard(self, deadline: float | None = None) -> None:
        """Leave an answer whose body nobody reads; keep the connection if it is short."""
        limit = time.monotonic() + _LONGEST_DRAIN
        connection = self.connection
        try:
            is_fit = self._drain(limit if deadline is None else min(limit, deadline))
        except (OSError, Malformed):
            is_fit = False
        except BaseException:
            connection.close()
            raise
        if is_fit:
            pool.give(connection)
        else:
            connection.close()

    def _drain(self, deadline: float) -> bool:
        head = self.head
        if not head.keeps_alive:
            return False
        if self.is_bare or head.status == 304:
            return not self.rest
        length = content_length(head.fields)
        if length is None or length > _LARGEST_DRAIN or "transfer-encoding" in head.fields:
            return False
        left = length - len(self.rest)
        waste = memoryview(bytearray(max(left, 0)))
        while left > 0:
            self.connection.set_timeout(time_left(deadline))
            count = self.connection.receive(waste, left)
            if not count:
                return False
            left -= count
        return left == 0
