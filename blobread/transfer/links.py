"""The links of this process, one per origin, and what they know as a user may see it."""

import os
import threading
from collections import OrderedDict
from typing import NamedTuple

from .link import Link

__all__ = ["Link", "LinkInfo", "describe", "of"]

_MOST = 1024

_lock = threading.RLock()
_links: OrderedDict[str, Link] = OrderedDict()


class LinkInfo(NamedTuple):
    """What is known of the way to one origin.

    Attributes
    ----------
    origin : str
        ``"http://host:port"``, or the name of a driver.
    ttfb : float or None
        Seconds from sending a request to the first byte of its answer; None before data.
    bandwidth : float or None
        Bytes per second of one connection, beside as many as were in use; None before data.
    connections : int
        How many a large read uses at most.
    part_size : int
        Bytes that one request asks for at most.
    hole : int
        Bytes between two ranges that are read through rather than skipped.
    samples : int
        Requests that were answered.
    """

    origin: str
    ttfb: float | None
    bandwidth: float | None
    connections: int
    part_size: int
    hole: int
    samples: int


def of(origin: str) -> Link:
    """Return the link to an origin, which all readers of the process share.

    1024 are kept; the one that was asked for longest ago goes first.
    """
    with _lock:
        link = _links.get(origin)
        if link is None:
            link = _links[origin] = Link(origin)
            if len(_links) > _MOST:
                _links.popitem(last=False)
        else:
            _links.move_to_end(origin)
        return link


def describe(origin: str) -> LinkInfo:
    """Tell what is known of an origin, without a request; what a new link assumes where nothing is.

    `part_size` is that of a read which is large enough for parts of full length.
    """
    with _lock:
        link = _links.get(origin)
    if link is None:
        link = Link(origin)
    return LinkInfo(
        origin=origin,
        ttfb=link.ttfb if link.samples else None,
        bandwidth=link.bandwidth if link.known else None,
        connections=link.connections,
        part_size=link.part_size(1 << 62),
        hole=link.hole,
        samples=link.samples,
    )


def _forget_parent() -> None:
    """In a forked child: the lock may be held by nobody, and the requests are the parent's."""
    global _lock
    _lock = threading.RLock()
    for link in _links.values():
        link.forget_requests()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
