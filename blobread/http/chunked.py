"""The body of an answer that comes in chunks."""

import re
from contextlib import suppress

from .connection import Connection
from .head import Malformed
from .refusal import Subject
from .stream import Body

__all__ = ["ChunkedBody"]

_LONGEST_LINE = 4096
_MOST_TRAILERS = 64
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00\r]*)?")
_END = b"\r\n0\r\n\r\n"
_GRACE = 0.05  # seconds


class ChunkedBody(Body):
    """A body that tells its end by an empty chunk.

    Parameters
    ----------
    is_exact : bool
        Whether it is an error if the answer ends before `left` bytes; else that is only the most.
    """

    __slots__ = ("_begun", "_chunk", "_ended", "_is_exact")

    def __init__(
        self,
        connection: Connection,
        rest: memoryview,
        subject: Subject,
        *,
        skip: int = 0,
        left: int,
        is_exact: bool = True,
        may_reuse: bool,
    ) -> None:
        Body.__init__(self, connection, rest, subject, skip, left, may_reuse)
        self._is_exact = is_exact
        self._chunk = 0  # bytes of the present chunk still to come
        self._begun = False
        self._ended = False

    def _advance(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        if not self._chunk and not self._ended:
            self._next_chunk(connection)
        if self._ended:
            if self._is_exact:
                raise self._truncated()
            return 0
        count = self._receive(connection, buffer, min(wanted, self._chunk))
        self._chunk -= count
        return count

    def _progress(self) -> str:
        if self._is_exact:
            return Body._progress(self)
        return f"after {self._given} bytes, before its last chunk"

    def _next_chunk(self, connection: Connection) -> None:
        if self._begun and self._line(connection):
            raise Malformed("a chunk is longer than it said")
        self._begun = True
        matched = _CHUNK.fullmatch(self._line(connection))
        if matched is None or int(matched[1], 16) >= 2**63:
            raise Malformed("a chunk has a malformed size")
        self._chunk = int(matched[1], 16)
        if self._chunk:
            return
        for _ in range(_MOST_TRAILERS):
            if not self._line(connection):
                self._ended = True
                return
        raise Malformed(f"more than {_MOST_TRAILERS} trailers follow the last chunk")

    def _line(self, connection: Connection) -> bytes:
        begun = bytes(self._rest)
        while True:
            end = begun.find(b"\n")
            if end >= 0:
                if begun[end - 1 : end] != b"\r":
                    raise Malformed("a line between the chunks ends by a bare LF")
                self._rest = memoryview(begun)[end + 1 :]
                return begun[: end - 1]
            if len(begun) > _LONGEST_LINE:
                raise Malformed(f"a line between the chunks is longer than {_LONGEST_LINE} bytes")
            piece = connection.receive_piece()
            if not piece:
                raise self._truncated()
            begun += piece

    def _is_spent(self, connection: Connection) -> bool:
        if self._ended:
            return not self._rest
        if self._chunk or not self._begun:
            return False
        # All that was wanted is here. Look whether the end is, too; it is not worth waiting for.
        end = bytes(self._rest)
        with suppress(OSError):
            if len(end) < len(_END) and not connection.is_quiet():
                connection.set_timeout(_GRACE)  # of TLS, only a part of a record may be there
                end += connection.receive_piece()
        return end == _END

    def _has_surplus(self) -> bool:
        return self._may_reuse and self._ended and bool(self._rest)
