"""The body of an answer that told its length."""

from .connection import Connection
from .refusal import Subject
from .stream import Body

__all__ = ["SizedBody"]


class SizedBody(Body):
    """A body of `wire` bytes, from the start of `rest` on, of which `left` are wanted."""

    __slots__ = ("_wire",)

    def __init__(
        self,
        connection: Connection,
        rest: memoryview,
        subject: Subject,
        wire: int,
        *,
        skip: int = 0,
        left: int,
        may_reuse: bool,
    ) -> None:
        Body.__init__(self, connection, rest, subject, skip, left, may_reuse)
        self._wire = wire
        if not left:
            self._connection = None
            self._settle(connection)

    def _advance(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        count = self._receive(connection, buffer, wanted)
        self._wire -= count
        return count

    def _is_spent(self, connection: Connection) -> bool:
        return self._wire == len(self._rest)

    def _has_surplus(self) -> bool:
        return self._may_reuse and self._wire < len(self._rest)
