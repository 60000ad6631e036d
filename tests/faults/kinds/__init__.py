"""The kinds of fault, by what they break; importing this package registers them all."""

from . import body, chunked, connect, head, length, pace, ranges, redirect, status, version

__all__ = [
    "body",
    "chunked",
    "connect",
    "head",
    "length",
    "pace",
    "ranges",
    "redirect",
    "status",
    "version",
]
