"""What 1 GiB over a link of 10 ms takes beside time: CPU seconds and memory, a process a subject.

Run: python bench/link_cost.py [--rounds N] [--quick]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import results
from blob import blank, holds_blob, write_blob
from link import serving
from link_bulk import by_read, by_readinto
from link_clients import BareThreads, ObstoreThreads
from memory import peak

import blobread

_SIZE, _QUICK_SIZE = 1 << 30, 128 << 20
_DELAY = 0.01


def by_bare_sockets(url: str, view: memoryview) -> None:
    with closing(BareThreads(url)) as bare:
        bare.whole(view)


def by_obstore(url: str, view: memoryview) -> None:
    with closing(ObstoreThreads(url)) as threads:
        threads.whole(view)


_WAYS: dict[str, dict[str, Callable[[str, memoryview], object]]] = {
    "whole": {
        "obstore by hand": by_obstore,
        "16 bare sockets": by_bare_sockets,
        "blobread": lambda url, view: by_readinto(blobread.open, url, view, len(view)),
    },
    "readinto 4 MiB": {
        "obstore by hand": by_obstore,
        "blobread": partial(by_readinto, blobread.open, chunk=4 << 20),
    },
    "read 64 KiB": {
        "obstore by hand": by_obstore,
        "blobread": partial(by_read, blobread.open, chunk=64 << 10),
    },
}


def child(way: str, name: str, url: str, size: int) -> None:
    """Print what reading took of this process, and whether every byte is right."""
    array = np.empty(size, np.uint8)
    blank(array)  # its pages exist from here on, and count for nobody
    before = peak()
    began = time.process_time()
    _WAYS[way][name](url, array.data)
    spent = time.process_time() - began
    found = {"seconds": spent, "added": peak() - before, "is_right": holds_blob(array)}
    print(json.dumps(found))


def measure(way: str, url: str, size: int, rounds: int) -> tuple[results.Case, results.Case]:
    """Let each subject read in `rounds` processes; gives its CPU seconds and its memory."""
    seconds: dict[str, list[float]] = {name: [] for name in _WAYS[way]}
    added: dict[str, list[float]] = {name: [] for name in _WAYS[way]}
    wrong: list[str] = []
    for _ in range(rounds):
        for name in _WAYS[way]:
            command = [sys.executable, __file__, "--child", way, name, url, str(size)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            if not found["is_right"]:
                wrong.append(name)
            seconds[name].append(found["seconds"])
            added[name].append(found["added"])
    right = {name for name in _WAYS[way] if name not in wrong}
    case = f"{_DELAY * 1e3:.0f} ms, {size >> 20} MiB, {way}"
    print(f"{case}: {', '.join(_WAYS[way])}; wrong: {wrong or 'none'}", file=sys.stderr)

    def told(unit: results.Unit, count: int, samples: dict[str, list[float]]) -> results.Case:
        return results.Case(
            case=case,
            baseline="obstore by hand",
            count=count,
            unit=unit,
            samples={name: found for name, found in samples.items() if name in right},
            wrong=sorted(set(wrong)),
        )

    return told("s", size, seconds), told("bytes", 1, added)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="128 MiB, and one round")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, name, url, size = options.child
        child(way, name, url, int(size))
        return
    size = _QUICK_SIZE if options.quick else _SIZE
    rounds = options.rounds or (1 if options.quick else 3)
    with tempfile.TemporaryDirectory() as folder:
        write_blob(Path(folder, "blob"), size)
        with serving(_DELAY, root=Path(folder)) as link:
            measured = [measure(way, f"{link.url}blob", size, rounds) for way in _WAYS]
    print(results.save("link_cpu", [seconds for seconds, _ in measured]))
    print(results.save("link_memory", [added for _, added in measured]))


if __name__ == "__main__":
    main()
