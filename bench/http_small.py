"""Many small requests over loopback HTTP, from nginx: opens, and ranges by 16 threads.

Run: python bench/http_small.py [--rounds N]
"""

import argparse
import random
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import results
from blob import blank, expected, holds_blob, write_blob
from clients import Client, Fsspec, Obstore
from nginx import serve
from subjects import CLIENTS
from turns import take_turns

_OPENS = 500
_START = 4 << 10
_RANGES = 1000
_RANGE = 16 << 10
_THREADS = 16


def measure_opens(url: str, label: str, rounds: int, opens: int = _OPENS) -> results.Case:
    """Open a blob and read its first 4 KiB, again and again on a warm connection."""
    clients = {name: connect(url) for name, connect in CLIENTS.items()}
    right = expected(0, _START)

    def run(client: Client) -> int:
        return sum(client.start(_START) == right for _ in range(opens))

    subjects: dict[str, Callable[[], object]] = {
        name: partial(run, client) for name, client in clients.items()
    }
    case = take_turns(
        label,
        subjects,
        baseline="bare socket",
        count=opens,
        rounds=rounds,
        before=lambda: None,
        is_right=lambda count: count == opens,
    )
    for client in clients.values():
        client.close()
    return case


def by_threads(
    threads: ThreadPoolExecutor,
    client: Client,
    views: Sequence[memoryview],
    offsets: Sequence[int],
) -> None:
    """Share the ranges out among all threads, evenly."""
    # Each thread takes one share and no second one, so that each has its own connection.
    together = threading.Barrier(_THREADS)

    def run(share: int) -> None:
        together.wait()
        for view, offset in zip(views[share::_THREADS], offsets[share::_THREADS], strict=True):
            client.part(view, offset)

    list(threads.map(run, range(_THREADS)))


def measure_ranges(url: str, size: int, rounds: int) -> results.Case:
    """Read ranges all over the blob; those that have a call for many are measured by that, too."""
    clients = {name: connect(url) for name, connect in CLIENTS.items()}
    draw = random.Random(1)
    offsets = [draw.randrange((size - _RANGE) // 8) * 8 for _ in range(_RANGES)]
    array = np.empty((_RANGES, _RANGE), np.uint8)
    views = [row.data for row in array]
    with ThreadPoolExecutor(_THREADS) as threads:
        subjects: dict[str, Callable[[], object]] = {
            name: partial(by_threads, threads, client, views, offsets)
            for name, client in clients.items()
            if not isinstance(client, Fsspec)
        }
        for client in clients.values():
            if isinstance(client, Fsspec):
                subjects["fsspec cat_ranges"] = partial(client.parts, views, offsets)
            elif isinstance(client, Obstore):
                subjects["obstore get_ranges"] = partial(client.parts, views, offsets)
        case = take_turns(
            f"{_RANGES} ranges of {_RANGE >> 10} KiB, {_THREADS} threads",
            subjects,
            baseline="bare socket",
            count=_RANGES,
            rounds=rounds,
            before=lambda: blank(array),
            is_right=lambda nothing: all(map(holds_blob, array, offsets)),
        )
    for client in clients.values():
        client.close()
    return case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    large, small = 1 << 30, 64 << 10
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as state:
        write_blob(Path(root, "large"), large)
        write_blob(Path(root, "small"), small)
        with serve(Path(root), Path(state)) as server:
            cases = [
                measure_opens(f"{server}large", "open, first 4 KiB of 1 GiB", options.rounds),
                measure_opens(f"{server}small", "open, first 4 KiB of 64 KiB", options.rounds),
                measure_ranges(f"{server}large", large, options.rounds),
            ]
    print(results.save("http_small", cases))


if __name__ == "__main__":
    main()
