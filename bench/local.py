"""1 GiB of a hot local file into an array, by chunks.

Run: python bench/local.py [--rounds N]
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import results
from blob import Bytes, blank, holds_blob, write_blob
from subjects import FILES
from turns import take_turns

_SIZE = 1 << 30
_CHUNKS = {"64 KiB": 64 << 10, "1 MiB": 1 << 20, "16 MiB": 16 << 20, "whole": _SIZE}
_PEERS = ("FileIO", "blobread", "open()", "pyarrow", "fsspec")


def by_readinto(name: str, path: str, views: list[memoryview]) -> Callable[[], int]:
    """Open, read one chunk after the other into its place, close; gives the number of bytes."""

    def run() -> int:
        with FILES[name](path) as file:
            readinto = file.readinto
            return sum(map(readinto, views))

    return run


def by_preadv(path: str, views: list[memoryview]) -> Callable[[], int]:
    """Do the same by the system call alone."""

    def run() -> int:
        done = 0
        descriptor = os.open(path, os.O_RDONLY)
        try:
            for view in views:
                done += os.preadv(descriptor, [view], done)
        finally:
            os.close(descriptor)
        return done

    return run


def measure(path: Path, array: Bytes, chunk: int, label: str, rounds: int) -> results.Case:
    """Let all subjects read the blob in chunks of `chunk` bytes."""
    views = [array.data[start : start + chunk] for start in range(0, array.nbytes, chunk)]
    subjects: dict[str, Callable[[], object]] = {
        name: by_readinto(name, str(path), views) for name in _PEERS
    }
    if hasattr(os, "preadv"):
        subjects["os.preadv"] = by_preadv(str(path), views)
    return take_turns(
        label,
        subjects,
        baseline="FileIO",
        count=array.nbytes,
        rounds=rounds,
        before=lambda: blank(array),
        is_right=lambda count: count == array.nbytes and holds_blob(array),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    array = np.empty(_SIZE, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "blob")
        write_blob(path, _SIZE)
        cases = [
            measure(path, array, chunk, label, options.rounds) for label, chunk in _CHUNKS.items()
        ]
    print(results.save("local", cases))


if __name__ == "__main__":
    main()
