"""1 GiB over loopback HTTP into an array, from nginx.

Run: python bench/http_bulk.py [--rounds N]
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import results
from blob import blank, holds_blob, write_blob
from nginx import serve
from subjects import CLIENTS
from turns import take_turns

_SIZE = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    array = np.empty(_SIZE, np.uint8)
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as state:
        write_blob(Path(root, "blob"), _SIZE)
        with serve(Path(root), Path(state)) as server:
            clients = {name: connect(f"{server}blob") for name, connect in CLIENTS.items()}
            subjects: dict[str, Callable[[], object]] = {
                name: partial(client.whole, array.data) for name, client in clients.items()
            }
            case = take_turns(
                "1 GiB",
                subjects,
                baseline="bare socket",
                count=_SIZE,
                rounds=options.rounds,
                before=lambda: blank(array),
                is_right=lambda nothing: holds_blob(array),
            )
            for client in clients.values():
                client.close()
    print(results.save("http_bulk", [case]))


if __name__ == "__main__":
    main()
