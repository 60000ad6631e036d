"""From a host name to a connected TCP socket, by a deadline."""

import errno
import os
import queue
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple

__all__ = ["dial"]

# RFC 8305 section 8: how long a first address may keep the next one waiting.
_HEAD_START = 0.25

_UNDER_WAY = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR}


class _Address(NamedTuple):
    family: int
    kind: int
    protocol: int
    name: str
    address: Any


def dial(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address of `host` that answers.

    Parameters
    ----------
    deadline : float
        On the clock of `time.monotonic`, in seconds: for all addresses, and the look-up, in total.

    Returns
    -------
    socket
        Blocking, with Nagle's algorithm off.

    Raises
    ------
    TimeoutError
    OSError
        Of the first address that failed.
    """
    sock = _race(_alternate(_resolve(host, port, deadline)), deadline)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(True)
    return sock


def _resolve(host: str, port: int, deadline: float) -> list[_Address]:
    def look_up(flags: int = 0) -> list[_Address]:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)
        return [_Address(*entry) for entry in found]

    try:
        return look_up(socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    answers: queue.SimpleQueue[list[_Address] | OSError] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put(look_up())
        except OSError as error:
            answers.put(error)

    # getaddrinfo takes no timeout, and Ctrl-C waits for it: so it is given a thread of its own.
    thread = threading.Thread(target=answer, name="blobread-resolve", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be had
        return look_up()
    try:
        answered = answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TimeoutError("the name of the host was not resolved in time") from None
    thread.join()
    if isinstance(answered, OSError):
        raise answered
    return answered


def _alternate(addresses: Sequence[_Address]) -> list[_Address]:
    """Put the families in turn, the one that the system prefers first."""
    first = [a for a in addresses if a.family == addresses[0].family]
    others = [a for a in addresses if a.family != addresses[0].family]
    return [a for a in chain.from_iterable(zip_longest(first, others)) if a is not None]


def _race(addresses: list[_Address], deadline: float) -> socket.socket:
    """Try one address after the other, each with a head start before the next (RFC 8305)."""
    waiting = list(reversed(addresses))
    failures: list[OSError] = []
    running: set[socket.socket] = set()
    winner: socket.socket | None = None
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                if waiting:
                    _start(waiting.pop(), selector, running, failures)
                now = time.monotonic()
                if now >= deadline:
                    break
                pause = min(_HEAD_START, deadline - now) if waiting else deadline - now
                for key, _ in selector.select(pause) if running else []:
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not problem:
                        winner = sock
                        return sock
                    failures.append(OSError(problem, os.strerror(problem)))
                    selector.unregister(sock)
                    running.discard(sock)
                    sock.close()
        finally:
            for sock in running - {winner}:
                sock.close()
    if failures:
        raise failures[0]
    raise TimeoutError("the host did not take the connection in time")


def _start(
    address: _Address,
    selector: selectors.BaseSelector,
    running: set[socket.socket],
    failures: list[OSError],
) -> None:
    try:
        sock = socket.socket(address.family, address.kind, address.protocol)
    except OSError as error:
        failures.append(error)
        return
    running.add(sock)
    sock.setblocking(False)
    problem = sock.connect_ex(address.address)
    if problem in _UNDER_WAY:
        selector.register(sock, selectors.EVENT_WRITE)
        return
    running.discard(sock)
    sock.close()
    failures.append(OSError(problem, os.strerror(problem)))
