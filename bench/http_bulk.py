"""1 GiB over loopback HTTP into an array, by chunks, from nginx.

Run: python bench/http_bulk.py [--rounds N]
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import results
from blob import Bytes, blank, holds_blob, write_blob
from nginx import serve
from subjects import CLIENTS
from turns import take_turns

_SIZE = 1 << 30
_CHUNKS = {"64 KiB": 64 << 10, "1 MiB": 1 << 20, "16 MiB": 16 << 20, "whole": _SIZE}


def measure(url: str, array: Bytes, chunk: int, label: str, rounds: int) -> results.Case:
    """Let all clients open the blob and read it in chunks of `chunk` bytes."""
    views = [array.data[start : start + chunk] for start in range(0, array.nbytes, chunk)]
    clients = {name: connect(url) for name, connect in CLIENTS.items()}
    subjects: dict[str, Callable[[], object]] = {
        name: partial(client.whole, views) for name, client in clients.items()
    }
    case = take_turns(
        label,
        subjects,
        baseline="bare socket",
        count=array.nbytes,
        rounds=rounds,
        before=lambda: blank(array),
        is_right=lambda nothing: holds_blob(array),
    )
    for client in clients.values():
        client.close()
    return case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    array = np.empty(_SIZE, np.uint8)
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as state:
        write_blob(Path(root, "blob"), _SIZE)
        with serve(Path(root), Path(state)) as server:
            cases = [
                measure(f"{server}blob", array, chunk, label, options.rounds)
                for label, chunk in _CHUNKS.items()
            ]
    print(results.save("http_bulk", cases))


if __name__ == "__main__":
    main()
