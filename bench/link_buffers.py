"""Throughput over a link against the size of the buffer, and against the number of connections.

Run: python bench/link_buffers.py [--rounds N] [--quick]
"""

import argparse
import inspect
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
import results
from blob import Bytes, blank, holds_blob, write_blob
from link import DELAYS, RATE, serving
from link_bulk import by_readinto
from link_clients import BareThreads, Opener
from turns import take_turns

import blobread

__all__ = ["AUTO", "BUFFERS", "ONE", "WINDOW"]

_KIB, _MIB = 1 << 10, 1 << 20
BUFFERS = {
    "64 KiB": 64 * _KIB,
    "256 KiB": 256 * _KIB,
    "1 MiB": 1 * _MIB,
    "4 MiB": 4 * _MIB,
    "16 MiB": 16 * _MIB,
    "64 MiB": 64 * _MIB,
}
AUTO = "auto"
WINDOW = "{}"  # how a buffer of a size is called that many connections fill,
ONE = "{}, one connection"  # and one that a single one fills

_SIZE, _LARGE = 256 * _MIB, 1 << 30
_CHUNK = 256 * _KIB  # of the loop: smaller than most buffers, so that these matter
_PATIENCE = 4.0  # seconds for all of a blob
_LEAST_DELAY = 0.001
_MANY = 16
_SHARE = 64 * _MIB  # of each connection
_CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
_CONNECTIONS_DELAY = 0.01
_QUICK_DELAYS = (0.01, 0.05)
_QUICK_CONNECTIONS = (1, 16, 64)


def amount(delay: float, buffer: int, connections: int, size: int) -> int:
    """How much to read: all, or what comes in a second where all would take many."""
    speed = buffer / (max(delay, _LEAST_DELAY) + buffer / (connections * RATE))
    if size / speed <= _PATIENCE:
        return size
    return min(size, max(2, round(speed / buffer)) * buffer)


def measure_delay(url: str, delay: float, array: Bytes, rounds: int) -> list[results.Case]:
    """Read by "auto" and by all sizes of buffer; those that are to read as much take turns."""
    groups: dict[int, dict[str, Opener]] = {array.nbytes: {AUTO: blobread.open}}
    for label, buffer in BUFFERS.items():
        many = groups.setdefault(amount(delay, buffer, _MANY, array.nbytes), {})
        many[WINDOW.format(label)] = partial(blobread.open, buffer_size=buffer)
        one = groups.setdefault(amount(delay, buffer, 1, min(array.nbytes, _SHARE)), {})
        one[ONE.format(label)] = partial(blobread.open, buffer_size=buffer, parallel=1)
    cases = []
    for size, group in groups.items():
        part = array[:size]
        subjects: dict[str, Callable[[], object]] = {
            name: partial(by_readinto, opener, url, part.data, min(_CHUNK, size))
            for name, opener in group.items()
        }
        case = take_turns(
            f"{delay * 1e3:.0f} ms, {size / _MIB:g} MiB",
            subjects,
            baseline=next(iter(group)),
            count=size,
            rounds=rounds,
            before=partial(blank, part),
            is_right=lambda nothing, part=part: holds_blob(part),  # type: ignore[misc]
        )
        case["at"] = {"delay": delay}
        cases.append(case)
    return cases


def measure_connections(url: str, array: Bytes, connections: int, rounds: int) -> results.Case:
    """Read by one call, by no more than so many connections."""
    part = array[: min(array.nbytes, connections * _SHARE)]
    opener = partial(blobread.open, parallel=connections)
    with ExitStack() as stack:
        bare = stack.enter_context(closing(BareThreads(url, connections)))
        case = take_turns(
            f"{connections} connections, {part.nbytes >> 20} MiB",
            {
                "bare sockets": partial(bare.whole, part.data),
                "blobread": partial(by_readinto, opener, url, part.data, part.nbytes),
            },
            baseline="bare sockets",
            count=part.nbytes,
            rounds=rounds,
            before=lambda: blank(part),
            is_right=lambda nothing: holds_blob(part),
        )
    case["at"] = {"connections": connections}
    return case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="less of a blob, and one round")
    options = parser.parse_args()
    if "parallel" not in inspect.signature(blobread.open).parameters:
        sys.exit("skipped: blobread.open has no parallel= yet")
    rounds = options.rounds or (1 if options.quick else 3)
    size, large = (_SIZE // 4, _LARGE // 4) if options.quick else (_SIZE, _LARGE)
    delays = _QUICK_DELAYS if options.quick else DELAYS
    counts = _QUICK_CONNECTIONS if options.quick else _CONNECTIONS
    array = np.empty(large, np.uint8)
    buffers, connections = [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_blob(root / "blob", large)
        for delay in delays:
            with serving(delay, root=root) as link:
                url = f"{link.url}blob"
                buffers += measure_delay(url, delay, array[:size], rounds)
                if delay == _CONNECTIONS_DELAY:
                    connections = [
                        measure_connections(url, array, count, rounds) for count in counts
                    ]
    print(results.save("link_buffers", buffers))
    print(results.save("link_connections", connections))


if __name__ == "__main__":
    main()
