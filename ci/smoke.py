"""Use the blobread that is installed as a stranger first would, and check what it gives."""

import http.server
import io
import os
import pickle
import platform
import tempfile
import threading
import warnings
from functools import partial
from pathlib import Path

import numpy as np

import blobread
from blobread.drivers.memory import MemoryDriver

DATA = np.random.default_rng(0).integers(0, 256, 3_000_001, dtype=np.uint8).tobytes()


def check_reader(reader: blobread.BlobReader) -> None:
    """Read in all the ways that differ below the surface."""
    with reader:
        assert isinstance(reader, io.BufferedIOBase)
        assert reader.size == len(DATA)
        array = np.empty(len(DATA) // 8, np.float64)
        assert reader.readinto(array) == array.nbytes
        assert array.tobytes() == DATA[: array.nbytes]
        assert reader.read() == DATA[array.nbytes :]
        assert reader.read_at(100, 1_000_000) == DATA[1_000_000:1_000_100]
        reader.seek(-10, io.SEEK_END)
        assert reader.read(100) == DATA[-10:]


def check_pickling(reader: blobread.BlobReader) -> None:
    """A reader goes on elsewhere where it was here."""
    with reader:
        reader.seek(12_345)
        with pickle.loads(pickle.dumps(reader)) as copy:
            assert copy.tell() == 12_345
            assert copy.read(1000) == DATA[12_345:13_345]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Python's own server: no ranges, and silent."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def main() -> None:
    """Read one blob from memory, a file and a server, and leave nothing behind."""
    warnings.simplefilter("error")
    check_reader(blobread.BlobReader(MemoryDriver({"blob": DATA}), "blob"))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "blob")
        path.write_bytes(DATA)
        check_reader(blobread.open(path))
        check_pickling(blobread.open(path))
        assert (blobread.fromfile(path, np.uint8) == np.frombuffer(DATA, np.uint8)).all()
        handler = partial(Handler, directory=directory)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            with blobread.open(f"http://127.0.0.1:{server.server_port}/blob") as reader:
                assert reader.read() == DATA
            server.shutdown()
            thread.join()
    where = os.path.dirname(blobread.__file__)
    print(f"CPython {platform.python_version()}: blobread {blobread.__version__} works, in {where}")


if __name__ == "__main__":
    main()
