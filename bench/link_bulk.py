"""128 MiB and 1 GiB over a link into an array: at once, and by loops; and what no link slows down.

Run: python bench/link_bulk.py [--rounds N] [--quick]
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import clients
import numpy as np
import results
from blob import Bytes, blank, holds_blob, write_blob
from link import serving
from link_clients import BareThreads, ObstoreThreads, Opener, fsspec_file, obstore_file
from subjects import CLIENTS
from turns import take_turns

import blobread

__all__ = ["by_read", "by_readinto"]

_SMALL, _LARGE = 128 << 20, 1 << 30  # clients with one connection take 22 s for the large one
_DELAYS = (0.01, 0.05)
_LOOPS = {"readinto 4 MiB": 4 << 20, "read 64 KiB": 64 << 10}
_LIMIT = "16 bare sockets"

# Any: each client has its own type of file.
_FILES: dict[str, Callable[[str], Any]] = {
    "blobread": blobread.open,
    "obstore reader": obstore_file,
    "fsspec file": fsspec_file,
}


def by_readinto(opener: Opener, url: str, view: memoryview, chunk: int) -> None:
    """Read a blob into its place, chunk by chunk."""
    with closing(opener(url)) as file:
        for start in range(0, len(view), chunk):
            file.readinto(view[start : start + chunk])


def by_read(opener: Opener, url: str, view: memoryview, chunk: int) -> None:
    """Read a blob by a loop of `read`, and put each piece in its place."""
    done = 0
    with closing(opener(url)) as file:
        while piece := file.read(chunk):
            view[done : done + len(piece)] = piece
            done += len(piece)


def measure(
    case: str,
    subjects: Mapping[str, Callable[[], object]],
    array: Bytes,
    baseline: str,
    rounds: int,
) -> results.Case:
    return take_turns(
        case,
        subjects,
        baseline=baseline,
        count=array.nbytes,
        rounds=rounds,
        before=lambda: blank(array),
        is_right=lambda nothing: holds_blob(array),
    )


def measure_whole(
    case: str, url: str, array: Bytes, rounds: int, *, with_slow: bool
) -> results.Case:
    """Read all of it by one call."""
    view = array.data
    with ExitStack() as stack:
        bare = stack.enter_context(closing(BareThreads(url)))
        threads = stack.enter_context(closing(ObstoreThreads(url)))
        subjects: dict[str, Callable[[], object]] = {
            _LIMIT: partial(bare.whole, view),
            "blobread": partial(by_readinto, blobread.open, url, view, len(view)),
            "obstore by hand": partial(threads.whole, view),
        }
        if with_slow:
            for name, connect in CLIENTS.items():
                if name in subjects or name == "bare socket":
                    continue
                one = stack.enter_context(closing(connect(url)))
                subjects[name] = partial(one.whole, [view])
        return measure(case, subjects, array, _LIMIT, rounds)


def measure_loops(
    case: str, url: str, array: Bytes, rounds: int, *, with_slow: bool
) -> list[results.Case]:
    """Read all of it by loops."""
    view = array.data
    cases = []
    names = _FILES if with_slow else ("blobread",)
    with closing(BareThreads(url)) as bare:
        for label, chunk in _LOOPS.items():
            loop = by_readinto if label.startswith("readinto") else by_read
            subjects: dict[str, Callable[[], object]] = {_LIMIT: partial(bare.whole, view)}
            for name in names:
                subjects[name] = partial(loop, _FILES[name], url, view, chunk)
            cases.append(measure(f"{case}, {label}", subjects, array, _LIMIT, rounds))
    return cases


def measure_unbounded(url: str, array: Bytes, rounds: int) -> list[results.Case]:
    """Read by a link that neither delays nor bounds, where all that is left is what we cost."""
    view = array.data
    cases = []
    with closing(clients.BareSocket(url)) as bare:
        for label, chunk in {"whole": len(view), "readinto 4 MiB": 4 << 20}.items():
            subjects: dict[str, Callable[[], object]] = {
                "bare socket": partial(bare.whole, [view]),
                "blobread": partial(by_readinto, blobread.open, url, view, chunk),
            }
            case = f"no delay, no bound, {array.nbytes >> 20} MiB, {label}"
            cases.append(measure(case, subjects, array, "bare socket", rounds))
    return cases


def measure_local(path: str, array: Bytes, rounds: int) -> results.Case:
    """Read a hot local file by one call, and by two threads with the system call alone."""
    halves = np.array_split(array, 2)

    def half(number: int) -> None:
        view, offset = halves[number].data, number * halves[0].nbytes
        descriptor = os.open(path, os.O_RDONLY)
        try:
            while view:
                got = os.preadv(descriptor, [view], offset)
                view, offset = view[got:], offset + got
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(2) as threads:
        subjects: dict[str, Callable[[], object]] = {
            "two preadv": lambda: list(threads.map(half, range(2))),
            "blobread": partial(by_readinto, blobread.open, path, array.data, array.nbytes),
        }
        case = f"local file, {array.nbytes >> 20} MiB, whole"
        return measure(case, subjects, array, "two preadv", rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="128 MiB, few peers, one round")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    sizes = (_SMALL,) if options.quick else (_SMALL, _LARGE)
    array = np.empty(max(sizes), np.uint8)
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for size in sizes:
            write_blob(root / str(size), size)
        for size in sizes:
            part = array[:size]
            for delay in _DELAYS:
                case = f"{delay * 1e3:.0f} ms, {size >> 20} MiB"
                slow = size == _SMALL and not options.quick
                with serving(delay, root=root) as link:
                    url = f"{link.url}{size}"
                    cases.append(measure_whole(f"{case}, whole", url, part, rounds, with_slow=slow))
                    cases += measure_loops(case, url, part, rounds, with_slow=slow)
        path = root / str(max(sizes))
        with serving(0.0, None, root) as link:
            cases += measure_unbounded(f"{link.url}{path.name}", array, rounds)
        cases.append(measure_local(str(path), array, rounds))
    print(results.save("link_bulk", cases))


if __name__ == "__main__":
    main()
