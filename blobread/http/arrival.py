"""How the head of an answer arrives: mostly in one piece, else in many, by a deadline."""

from .connection import Connection, time_left
from .head import MAX_BYTES, Head, Malformed, parse_head

__all__ = ["HungUp", "receive_head"]

_INTERIM_ANSWERS = 8
_BEGINNING = b"HTTP/1."
_NOTHING = memoryview(b"")


class HungUp(ConnectionError):
    """The server closed the connection before the head of its answer was complete."""


def receive_head(connection: Connection, deadline: float) -> tuple[Head, memoryview]:
    """Give a final answer's head, and the bytes of its body that came with it.

    Raises
    ------
    HungUp, Malformed, TimeoutError, OSError
    """
    begun, connection.begun = connection.begun, b""
    if not begun:
        raise HungUp("the server closed the connection without an answer")
    end = begun.find(b"\r\n\r\n")
    if end >= 0 and begun.startswith(_BEGINNING):
        connection.heard = True
        head = parse_head(begun[:end])
        if head.status >= 200:
            end += 4
            return head, memoryview(begun)[end:] if end < len(begun) else _NOTHING
    return _receive_more(connection, bytearray(begun), deadline)


def _receive_more(
    connection: Connection, begun: bytearray, deadline: float
) -> tuple[Head, memoryview]:
    usual = connection.timeout
    interim = 0
    try:
        while True:
            end = begun.find(b"\r\n\r\n")
            _check_beginning(connection, begun, end)
            if end >= 0:
                head = parse_head(begun[:end])
                if head.status >= 200:
                    return head, memoryview(begun)[end + 4 :]
                del begun[: end + 4]
                interim += 1
                if interim > _INTERIM_ANSWERS or head.status == 101:
                    raise Malformed("the server sent only interim answers")
                if begun:
                    continue
            connection.set_timeout(time_left(deadline))
            piece = connection.receive_piece()
            if not piece:
                raise HungUp("the server closed the connection within the head of its answer")
            begun += piece
    finally:
        connection.set_timeout(usual)


def _check_beginning(connection: Connection, begun: bytearray, end: int) -> None:
    # Told at once, and not only when 64 KiB or the timeout are spent.
    if not begun.startswith(_BEGINNING) and not _BEGINNING.startswith(begun):
        raise Malformed("the answer is not HTTP/1.0 or HTTP/1.1")
    connection.heard = True
    if (end if end >= 0 else len(begun)) > MAX_BYTES:
        raise Malformed(f"the head of the answer is longer than {MAX_BYTES} bytes")
    if end < 0 and begun.count(b"\n") > begun.count(b"\r\n"):
        raise Malformed("the head of the answer contains a bare LF")
