"""Connections that wait for their next request: one pool for the whole process."""

import atexit
import os
import threading
import time

from .connection import Connection, Route

__all__ = ["close_idle", "distrust", "give", "pop", "reject", "take"]

_LONGEST_IDLE = 60.0  # seconds; most servers and balancers hang up after that, some in mid-request
_IDLE_PER_ROUTE = 128
_IDLE = 256
_MOST_DISTRUSTED = 1024

_lock = threading.Lock()
_idle: dict[Route, list[Connection]] = {}
_distrusted: set[Route] = set()
_count = 0
_next_sweep = 0.0


def take(route: Route) -> Connection | None:
    """Take the connection that was used last; it is fit for a request, or there is none.

    Nothing may be readable on it: whatever it is, it is no answer to what was not yet asked.
    """
    while (connection := pop(route)) is not None and not connection.is_quiet():
        reject(connection)
    return connection


def pop(route: Route) -> Connection | None:
    """Take the connection that was used last; whether it is fit is for the caller to see."""
    global _count
    while True:
        with _lock:
            waiting = _idle.get(route)
            if not waiting:
                return None
            connection = waiting.pop()
            _count -= 1
        if time.monotonic() - connection.idle_since < _LONGEST_IDLE:
            connection.reused = True
            return connection
        reject(connection)


def reject(connection: Connection) -> None:
    """Close a connection that waited here and is not fit for a request any more."""
    if not connection.is_quiet() and connection.has_surplus():
        distrust(connection.route)
    connection.close()


def distrust(route: Route) -> None:
    """Use no connection of a route twice: what its server once sent unasked, it may send again.

    Nothing in HTTP/1.1 tells such bytes from the answer to the next request, should they come
    just after it was sent.
    """
    with _lock:
        if len(_distrusted) >= _MOST_DISTRUSTED:
            _distrusted.clear()
        _distrusted.add(route)


def give(connection: Connection) -> None:
    """Put a connection back. Its last answer must have been consumed, exactly."""
    global _count
    if connection.holder is not None:
        connection.let_go()
    now = time.monotonic()
    connection.idle_since = now
    surplus: list[Connection] = []
    if connection.route in _distrusted:
        connection.close()
        return
    with _lock:
        if now >= _next_sweep:
            _sweep(now, surplus)
        waiting = _idle.setdefault(connection.route, [])
        if len(waiting) >= _IDLE_PER_ROUTE:
            surplus.append(waiting.pop(0))
            _count -= 1
        elif _count >= _IDLE:
            oldest = min((w for w in _idle.values() if w), key=lambda w: w[0].idle_since)
            surplus.append(oldest.pop(0))
            _count -= 1
        waiting.append(connection)
        _count += 1
    for one in surplus:
        one.close()


def close_idle() -> None:
    """Close every connection that waits for a request."""
    global _count
    with _lock:
        surplus = [connection for waiting in _idle.values() for connection in waiting]
        _idle.clear()
        _count = 0
    for connection in surplus:
        connection.close()


def _sweep(now: float, surplus: list[Connection]) -> None:
    """Take out what has waited for too long, and forget routes that nobody uses."""
    global _count, _next_sweep
    _next_sweep = now + _LONGEST_IDLE / 4
    for route, waiting in list(_idle.items()):
        fresh = [one for one in waiting if now - one.idle_since < _LONGEST_IDLE]
        surplus += [one for one in waiting if now - one.idle_since >= _LONGEST_IDLE]
        _idle[route] = fresh
        if not fresh:
            del _idle[route]
    _count -= len(surplus)


def _forget_parent() -> None:
    """In a forked child: the connections are the parent's, and the lock may be held by nobody."""
    global _lock
    _lock = threading.Lock()
    close_idle()


atexit.register(close_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
