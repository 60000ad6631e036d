"""What libraries that are given a file object fetch over a link of 10 ms: time, bytes, requests.

Bytes and requests are counted by the server, so that what was asked for and not used counts too.

Run: python bench/link_patterns.py [--rounds N] [--quick]
"""

import argparse
import random
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import results
from blob import expected
from link import Link, serving
from link_clients import adaptive, fsspec_file, obstore_file

import blobread

_DELAY = 0.01
_SIZE, _QUICK_SIZE = 256 << 20, 64 << 20
_ZIPPED = 128 << 10  # bytes of a member
_TARRED = 1 << 20
_COLUMNS = 16
_CHUNK = 256  # rows and columns of float64: 512 KiB

# Any: each client has its own type of file, and the libraries ask more or less of it.
_OPENERS: dict[str, Callable[[str], Any]] = {
    "blobread": blobread.open,
    "fsspec": fsspec_file,
    "fsspec adaptive": adaptive,
    "obstore": obstore_file,
}


def write_zip(path: Path, size: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(size // _ZIPPED):
            archive.writestr(f"member{number}", expected(number * _ZIPPED, _ZIPPED))


def read_zip(file: Any) -> object:
    """List the directory of an archive, and read three of its members."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        return names, [archive.read(names[len(names) * third // 4]) for third in (1, 2, 3)]


def write_tar(path: Path, size: int) -> None:
    with tarfile.open(path, "w") as archive:
        for number in range(size // _TARRED):
            member = tarfile.TarInfo(f"member{number}")
            member.size = _TARRED
            archive.addfile(member, BytesIO(expected(number * _TARRED, _TARRED)))


def read_tar(file: Any) -> object:
    """Go through an archive, and read every fourth member on the way."""
    found = []
    with tarfile.open(fileobj=file) as archive:
        for number, member in enumerate(archive):
            content = archive.extractfile(member) if number % 4 == 0 else None
            found.append((member.name, content and content.read()))
    return found


def write_parquet(path: Path, size: int) -> None:
    rows = size // 8 // _COLUMNS
    draw = np.random.default_rng(4)
    table = pa.table({f"column{number}": draw.random(rows) for number in range(_COLUMNS)})
    pq.write_table(table, path, row_group_size=rows // 8, compression="none", use_dictionary=False)


def read_parquet(file: Any) -> object:
    """Read the footer, then one column of all row groups."""
    return pq.ParquetFile(file).read(columns=["column5"])


def write_hdf5(path: Path, size: int) -> None:
    edge = int((size // 8) ** 0.5) // _CHUNK * _CHUNK
    draw = np.random.default_rng(5)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (edge, edge), chunks=(_CHUNK, _CHUNK), dtype="f8")
        for start in range(0, edge, _CHUNK):
            data[start : start + _CHUNK] = draw.random((_CHUNK, edge))


def read_hdf5(file: Any) -> object:
    """Read 16 chunks, here and there."""
    draw = random.Random(6)
    with h5py.File(file, "r") as opened:
        data = opened["data"]
        starts = range(0, data.shape[0], _CHUNK)
        places = [(draw.choice(starts), draw.choice(starts)) for _ in range(16)]
        return [data[row : row + _CHUNK, column : column + _CHUNK] for row, column in places]


_PATTERNS: dict[str, tuple[Callable[[Path, int], None], Callable[[Any], object]]] = {
    "zip directory, 3 members": (write_zip, read_zip),
    "Parquet, one column of 16": (write_parquet, read_parquet),
    "tar, every fourth member": (write_tar, read_tar),
    "HDF5, 16 chunks": (write_hdf5, read_hdf5),
}


def is_same(found: object, right: Any) -> bool:
    """Compare what a pattern gave, of whatever type."""
    if isinstance(found, list) and isinstance(right, list):
        return len(found) == len(right) and all(map(is_same, found, right))
    if isinstance(found, np.ndarray):
        return bool(np.array_equal(found, right))
    return bool(found == right)


def measure(
    pattern: str, link: Link, path: Path, read: Callable[[Any], object], rounds: int
) -> list[results.Case]:
    """Let the file objects take turns; gives a case of seconds, one of bytes, one of requests."""
    with path.open("rb") as file:
        right = read(file)
    units: tuple[results.Unit, ...] = ("s", "bytes", "requests")
    samples: dict[results.Unit, dict[str, list[float]]] = {
        unit: {name: [] for name in _OPENERS} for unit in units
    }
    wrong = set()
    for number in range(rounds + 1):
        for name, opener in _OPENERS.items():
            before = link.counts()
            began = time.perf_counter()
            with closing(opener(f"{link.url}{path.name}")) as file:
                found = read(file)
            took = time.perf_counter() - began
            after = link.counts()
            if not is_same(found, right):
                wrong.add(name)
            elif number > 0:
                samples["s"][name].append(took)
                samples["bytes"][name].append(after.bytes - before.bytes)
                samples["requests"][name].append(after.requests - before.requests)
    print(f"{pattern}: {', '.join(_OPENERS)}; wrong: {sorted(wrong) or 'none'}", file=sys.stderr)
    return [
        results.Case(
            case=pattern,
            baseline="fsspec",
            count=1,
            unit=unit,
            samples={name: found for name, found in samples[unit].items() if name not in wrong},
            wrong=sorted(wrong),
        )
        for unit in units
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="smaller files, and one round")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    size = _QUICK_SIZE if options.quick else _SIZE
    measured = []
    with tempfile.TemporaryDirectory() as folder, serving(_DELAY, root=Path(folder)) as link:
        for number, (pattern, (write, read)) in enumerate(_PATTERNS.items()):
            path = Path(folder, str(number))
            write(path, size)
            measured.append(measure(pattern, link, path, read, rounds))
    for figure, cases in zip(
        ("link_seconds", "link_fetched", "link_requests"), zip(*measured, strict=True), strict=True
    ):
        print(results.save(figure, list(cases)))


if __name__ == "__main__":
    main()
