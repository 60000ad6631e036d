"""Answers that are no bytes of the blob."""

from ..answer import plain
from ..exchange import Exchange
from ..plan import kind


@kind("answer", 12)
def status(
    exchange: Exchange,
    code: int,
    headers: tuple[tuple[str, str], ...] = (),
    text: bytes = b"",
    reason: str | None = None,
) -> None:
    exchange.replace(plain(code, text, *headers))
    exchange.answer.reason = reason


@kind("answer", 17)
def unsatisfied(exchange: Exchange, content_range: str | None) -> None:
    """416; the honest one says ``bytes */size``."""
    headers = [] if content_range is None else [("Content-Range", content_range)]
    exchange.replace(plain(416, b"", *headers))


@kind("answer", 61)
def head_without_length(exchange: Exchange) -> None:
    exchange.answer.set("Content-Length")


@kind("answer", 61)
def head_with_body(exchange: Exchange) -> None:
    """Send the body to a HEAD as well, and close."""
    exchange.answer.bodiless = False
    exchange.answer.closes = True
