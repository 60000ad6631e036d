"""From a stream into memory, until enough is there."""

from collections.abc import Callable

from .resume import ResumingStream

__all__ = ["receive", "receive_and_drop"]

_DROPPED_AT_ONCE = 256 * 1024


def receive(
    stream: ResumingStream,
    memory: memoryview,
    least: int | None = None,
    tick: Callable[[], object] | None = None,
) -> int:
    """Fill all of `memory`, or `least` bytes of it and what comes with them.

    Parameters
    ----------
    tick : callable, optional
        Called whenever some have come.

    Raises
    ------
    ValueError
        If the stream was closed.
    BlobError
    """
    done = 0
    least = len(memory) if least is None else least
    while done < least:
        count = stream.readinto(memory, done)
        if not count:
            raise ValueError("I/O operation on closed file.")
        done += count
        if tick is not None:
            tick()
    return done


def receive_and_drop(stream: ResumingStream, count: int) -> None:
    """Receive `count` bytes that nobody wants."""
    scratch = memoryview(bytearray(min(count, _DROPPED_AT_ONCE)))
    while count:
        count -= receive(stream, scratch[:count])
