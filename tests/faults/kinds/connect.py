"""Connections that die, or stay silent, before there is any answer."""

from ..connection import Connection
from ..exchange import Exchange
from ..plan import kind


@kind("connect", 2)
def close_on_accept(connection: Connection) -> None:
    connection.finish()


@kind("connect", 5)
def reset_on_accept(connection: Connection) -> None:
    connection.reset()


@kind("connect", 3)
def ignore(connection: Connection) -> None:
    """Never answer, nor let go."""
    connection.ignore()


@kind("connect", 6)
def babble(connection: Connection, data: bytes) -> None:
    """Speak before being asked; to a TLS client, what is no TLS."""
    connection.send(data)
    connection.ignore()


@kind("request", 2)
def close_before_answer(exchange: Exchange) -> None:
    exchange.connection.finish()


@kind("request", 5)
def reset_before_answer(exchange: Exchange) -> None:
    exchange.connection.reset()


@kind("request", 3)
def hang(exchange: Exchange, seconds: float = 600.0) -> None:
    """Let the client wait for the first byte of the answer."""
    exchange.connection.wait(seconds)
