"""Answers that send the client elsewhere."""

from ..answer import plain
from ..exchange import Exchange
from ..plan import kind


@kind("answer", 51)
def redirect(exchange: Exchange, to: str, code: int = 302, text: bytes = b"") -> None:
    exchange.replace(plain(code, text, ("Location", to)))


@kind("answer", 52)
def locations(exchange: Exchange, values: tuple[str, ...], code: int = 302) -> None:
    """Redirect with none or several Location headers."""
    exchange.replace(plain(code, b"", *(("Location", value) for value in values)))


@kind("answer", 51)
def next_hop(exchange: Exchange, code: int = 302) -> None:
    """Redirect to the same path with a query that counts the requests: an endless way."""
    path = exchange.request.target.partition("?")[0]
    exchange.replace(plain(code, b"", ("Location", f"{path}?hop={exchange.request.nth}")))
