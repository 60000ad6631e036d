"""Bodies that end too early or too late, or whose bytes are not those of the blob."""

import itertools
from dataclasses import replace

from ..answer import Body
from ..exchange import Exchange
from ..plan import EVER, kind


@kind("wire", 37)
def fin(exchange: Exchange) -> None:
    """End the connection cleanly; of TLS, without close_notify (8)."""
    exchange.connection.finish()


@kind("wire", 38)
def reset(exchange: Exchange) -> None:
    exchange.connection.reset()


@kind("wire", 37)
def goodbye(exchange: Exchange) -> None:
    """End a TLS connection as one should."""
    exchange.connection.say_goodbye()


@kind("answer", 42)
def text_after(
    exchange: Exchange, start: int, text: bytes = b"<html>502 Bad Gateway</html>"
) -> None:
    """Put the text of an error into the body, at the right length."""
    body = exchange.answer.body

    def read(a: int, b: int) -> bytes:
        data = bytearray(body.read(a, b))
        first, stop = max(a, start), min(b, start + len(text))
        if first < stop:
            data[first - a : stop - a] = text[first - start : stop - start]
        return bytes(data)

    exchange.answer.body = Body(body.size, read)


@kind("answer", 43)
def flip(exchange: Exchange, byte: int, bit: int = 0) -> None:
    """Turn one bit of the body."""
    body = exchange.answer.body

    def read(a: int, b: int) -> bytes:
        data = bytearray(body.read(a, b))
        if a <= byte < b:
            data[byte - a] ^= 1 << bit
        return bytes(data)

    exchange.answer.body = Body(body.size, read)


@kind("answer", 47)
def zeros_from(exchange: Exchange, start: int) -> None:
    """Pad with zeros from `start` on, as a proxy does that has lost its own source."""
    body = exchange.answer.body

    def read(a: int, b: int) -> bytes:
        kept = body.read(a, min(b, start)) if a < start else b""
        return kept + bytes(b - a - len(kept))

    exchange.answer.body = Body(body.size, read)


@kind("answer", 45)
def other_blob(exchange: Exchange, seed: int = 99) -> None:
    """Send the bytes of another blob, under the right head."""
    body, other = exchange.answer.body, replace(exchange.blob, seed=seed)
    start, _ = exchange.request.asked or (0, 0)
    exchange.answer.body = Body.span(other, start, start + body.size)


@kind("answer", 44)
def extra(exchange: Exchange, size: float = 1) -> None:
    """Send more than was promised; EVER: until the client leaves."""
    piece = b"\xee" * (1 << 16)
    exchange.answer.after = itertools.repeat(piece) if size == EVER else (b"\xee" * int(size),)
