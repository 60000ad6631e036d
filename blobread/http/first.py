"""How much the first request for a blob asks for: about what its readers used of those before."""

import os
import threading

__all__ = ["first_length", "learn"]

_LARGEST = 256 * 1024
_SMALLEST = 16 * 1024
_STEP = 8 * 1024
_REMEMBERED = 4  # openings of each origin: who alternates is served for the larger one
_MOST_ORIGINS = 256

_lock = threading.Lock()
_lengths: dict[tuple[str, str, int], tuple[int, ...]] = {}


def first_length(origin: tuple[str, str, int]) -> int:
    """Return for how many bytes the next first request shall ask; 256 KiB at first."""
    return max(_lengths.get(origin, (_LARGEST,)))


def learn(origin: tuple[str, str, int], asked: int, used: int) -> None:
    """Remember how much of an opening was used.

    What nobody reads costs the server and the link more than the request does. A half more than
    what was used is asked for next; or twice as much, if all was used and there may be more.
    """
    length = 2 * asked if used >= asked else used + used // 2
    length = min(max(_SMALLEST, -(-length // _STEP) * _STEP), _LARGEST)
    with _lock:
        if origin not in _lengths and len(_lengths) >= _MOST_ORIGINS:
            _lengths.clear()
        _lengths[origin] = (length, *_lengths.get(origin, ()))[:_REMEMBERED]


def _forget_parent() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
