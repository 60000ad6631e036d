"""Ranges that are not the one asked for, and ranges that are not called by their name."""

from ..answer import Answer, Body
from ..exchange import Exchange
from ..plan import kind


@kind("answer", 19)
def whole(exchange: Exchange) -> None:
    """Answer 200 with all of the blob, whatever was asked."""
    answer, blob = exchange.answer, exchange.blob
    answer.status = 200
    answer.set("Content-Range")
    answer.replace_body(Body.span(blob, 0, blob.size))


@kind("answer", 24)
def content_range(exchange: Exchange, values: tuple[str, ...]) -> None:
    """Say these instead of the one right Content-Range, over the right bytes; 20: say none."""
    exchange.answer.set("Content-Range", *values)


@kind("answer", 24)
def labelled(
    exchange: Exchange, code: int, content_range: tuple[str, ...], start: int, stop: int
) -> None:
    """Send these bytes of the blob under this status and these Content-Ranges."""
    answer = exchange.answer
    answer.status = code
    answer.set("Content-Range", *content_range)
    answer.replace_body(Body.span(exchange.blob, start, stop))


@kind("answer", 21)
def shifted(exchange: Exchange, delta: int, admitted: bool = True) -> None:
    """Send the bytes from `delta` further on; the Content-Range admits it, or hides it."""
    first, last = _asked(exchange)
    size = last + 1 - first
    start = max(0, first + delta)
    _send_span(exchange, start, start + size)
    if not admitted:
        exchange.answer.set("Content-Range", f"bytes {first}-{last}/{exchange.blob.size}")


@kind("answer", 22)
def shorter(exchange: Exchange, size: int) -> None:
    """Send, and admit, no more than `size` bytes of what was asked."""
    first, last = _asked(exchange)
    _send_span(exchange, first, min(first + size, last + 1))


@kind("answer", 23)
def longer(exchange: Exchange, before: int = 0, behind: int = 0) -> None:
    """Send, and admit, more than was asked."""
    first, last = _asked(exchange)
    _send_span(exchange, max(0, first - before), min(last + 1 + behind, exchange.blob.size))


@kind("answer", 25)
def multipart(exchange: Exchange, boundary: str = "x") -> None:
    """Put the one range asked for into a multipart/byteranges."""
    first, last = _asked(exchange)
    head = f"--{boundary}\r\nContent-Range: bytes {first}-{last}/{exchange.blob.size}\r\n\r\n"
    data = exchange.blob.read(first, last + 1)
    exchange.answer.set("Content-Range")
    exchange.answer.set("Content-Type", f"multipart/byteranges; boundary={boundary}")
    exchange.answer.replace_body(Body.of(head.encode() + data + f"\r\n--{boundary}--\r\n".encode()))


def _asked(exchange: Exchange) -> tuple[int, int]:
    """The range that the honest server would send, or else the whole blob."""
    first, last = exchange.request.asked or (0, exchange.blob.size - 1)
    return first, min(last, exchange.blob.size - 1)


def _send_span(exchange: Exchange, start: int, stop: int) -> None:
    answer: Answer = exchange.answer
    answer.replace_body(Body.span(exchange.blob, start, stop))
    answer.set("Content-Range", f"bytes {start}-{stop - 1}/{exchange.blob.size}")
