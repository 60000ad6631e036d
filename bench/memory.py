"""Memory that reading 1 GiB into an array takes beyond the array: the peak, a process a subject.

Run: python bench/memory.py [--rounds N]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import results
from blob import blank, holds_blob, write_blob
from nginx import serve
from subjects import CLIENTS, FILES

_SIZE = 1 << 30
_FILES = ("open()", "FileIO", "pyarrow", "fsspec", "blobread")


def peak() -> int:
    """The most memory that this process has held at any time, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":
        # ru_maxrss starts with what the parent held when it forked; this one starts anew.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_file(name: str, path: str) -> Callable[[memoryview], None]:
    def read(view: memoryview) -> None:
        with FILES[name](path) as file:
            file.readinto(view)

    return read


def read_url(name: str, url: str) -> Callable[[memoryview], None]:
    client = CLIENTS[name](url)

    def read(view: memoryview) -> None:
        client.whole([view])
        client.close()

    return read


def child(name: str, place: str) -> None:
    """Print how much the peak grew, and whether every byte is right."""
    read = read_url(name, place) if place.startswith("http") else read_file(name, place)
    array = np.empty(_SIZE, np.uint8)
    blank(array)  # its pages exist from here on, and count for nobody
    before = peak()
    read(array.data)
    added = peak() - before
    print(json.dumps({"added": added, "is_right": holds_blob(array)}))


def measure(
    case: str, names: tuple[str, ...], place: str, baseline: str, rounds: int
) -> results.Case:
    """Let each subject read in `rounds` processes."""
    added: dict[str, list[float]] = {name: [] for name in names}
    wrong: list[str] = []
    for _ in range(rounds):
        for name in names:
            command = [sys.executable, __file__, "--child", name, place]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            if not found["is_right"]:
                wrong.append(name)
            added[name].append(found["added"])
    return results.Case(
        case=case,
        baseline=baseline,
        count=1,
        unit="bytes",
        samples={name: sizes for name, sizes in added.items() if name not in wrong},
        wrong=sorted(set(wrong)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("SUBJECT", "PLACE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as state:
        path = Path(root, "blob")
        write_blob(path, _SIZE)
        with serve(Path(root), Path(state)) as server:
            cases = [
                measure("a local file", _FILES, str(path), "FileIO", options.rounds),
                measure("HTTP", tuple(CLIENTS), f"{server}blob", "bare socket", options.rounds),
            ]
    print(results.save("memory", cases))


if __name__ == "__main__":
    main()
