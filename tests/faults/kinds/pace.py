"""Bytes that come slowly, in crumbs, or not for a while."""

from ..connection import Pace
from ..exchange import Exchange
from ..plan import kind


@kind("wire", 39)
def stall(exchange: Exchange, seconds: float = 600.0) -> None:
    exchange.connection.wait(seconds)


@kind("wire", 40)
def drip(exchange: Exchange, pause: float, size: int = 1) -> None:
    """From here on, send `size` bytes and wait `pause` seconds, again and again."""
    exchange.connection.pace = Pace(size, pause)


@kind("wire", 41)
def throttle(exchange: Exchange, rate: int) -> None:
    """From here on, send `rate` bytes per second, in ten pieces a second."""
    exchange.connection.pace = Pace(max(1, rate // 10), 0.1)


@kind("wire", 48)
def segments(exchange: Exchange, size: int = 1) -> None:
    """From here on, write no more than `size` bytes at a time."""
    exchange.connection.pace = Pace(size)
