"""The body of an answer that told its length."""

from .connection import Connection
from .refusal import Subject
from .stream import Body

__all__ = ["SizedBody"]

# What is left of an answer that nobody wants any more, as after an open that read a header only.
# If it comes at once, as on a fast link, to receive it costs less than to connect anew.
_LARGEST_DRAIN = 256 * 1024
_PATIENCE = 0.001  # seconds, for each next bytes
_LONGEST_DRAIN = 0.004  # seconds


class SizedBody(Body):
    """A body of `wire` bytes, from the start of `rest` on, of which `left` are wanted.

    `given` bytes of the same answer were delivered before.
    """

    __slots__ = ("_wire",)

    def __init__(
        self,
        connection: Connection,
        rest: memoryview,
        subject: Subject,
        wire: int,
        *,
        skip: int = 0,
        given: int = 0,
        left: int,
        may_reuse: bool,
    ) -> None:
        Body.__init__(self, connection, rest, subject, skip, left, may_reuse)
        self._wire = wire
        self._given = given
        if not left:
            self._connection = None
            self._settle(connection)

    def _advance(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        count = self._receive(connection, buffer, wanted)
        self._wire -= count
        return count

    def _is_spent(self, connection: Connection) -> bool:
        left = self._wire - len(self._rest)
        return not left or (
            0 < left <= _LARGEST_DRAIN and connection.drop(left, _PATIENCE, _LONGEST_DRAIN)
        )

    def _has_surplus(self) -> bool:
        return self._may_reuse and self._wire < len(self._rest)
