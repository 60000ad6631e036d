"""Blobs that change, and servers that are careless about it."""

from dataclasses import replace as _replace

from ..answer import Body
from ..exchange import Exchange
from ..plan import kind


@kind("answer", 31)
def etag(exchange: Exchange, values: tuple[str, ...]) -> None:
    """Send these entity tags; none: no ETag at all."""
    exchange.answer.set("ETag", *values)


@kind("answer", 31)
def etag_of_request(exchange: Exchange) -> None:
    """Send another strong tag with each answer, over the same bytes."""
    exchange.answer.set("ETag", f'"request {exchange.request.nth}"')


@kind("answer", 31)
def last_modified(exchange: Exchange, values: tuple[str, ...]) -> None:
    exchange.answer.set("Last-Modified", *values)


@kind("request", 32)
def ignore_conditions(exchange: Exchange) -> None:
    """Be a server that has never heard of If-Match."""
    exchange.knows_conditions = False


@kind("request", 58)
def replaced(exchange: Exchange, version: int = 2, size: int | None = None) -> None:
    """Answer from another version of the blob."""
    size = exchange.blob.size if size is None else size
    exchange.blob = _replace(exchange.blob, version=version, size=size)


@kind("request", 60)
def deleted(exchange: Exchange) -> None:
    """Know nothing of the blob any more."""
    exchange.deleted = True


@kind("answer", 59)
def replaced_under_way(exchange: Exchange, start: int, version: int = 2) -> None:
    """From `start` of the body on, send another version, under the head of the first."""
    other, body = _replace(exchange.blob, version=version), exchange.answer.body
    asked, _ = exchange.request.asked or (0, 0)

    def read(a: int, b: int) -> bytes:
        kept = body.read(a, min(b, start)) if a < start else b""
        return kept + other.read(asked + max(a, start), asked + b)

    exchange.answer.body = Body(body.size, read)
