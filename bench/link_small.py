"""Small reads over a link: opens, one after the other, many ranges of a blob, and many blobs.

Run: python bench/link_small.py [--rounds N] [--quick]
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import clients
import numpy as np
import results
from blob import blank, expected, holds_blob, write_blob
from http_small import measure_opens
from link import serving
from link_clients import BareThreads, ObstoreThreads, fsspec_blobs, obstore_blobs
from subjects import CLIENTS
from turns import take_turns

import blobread

_SIZE = 1 << 30
_QUICK_SIZE = 128 << 20
_QUICK_DELAY = 0.01
_OPENS = 20
_READS, _READ = 40, 64 << 10
_RANGES, _RANGE = 200, 16 << 10
_BLOB = 64 << 10
_BLOBS = {0.0: 1000, 0.01: 200, 0.05: 200}  # by delay
_NEAR = 48 << 10  # from the end of a range to the next one
_LIMIT = "16 bare sockets"

_Parts = Callable[[Sequence[memoryview], Sequence[int]], object]


def blobread_parts(url: str, views: Sequence[memoryview], offsets: Sequence[int]) -> None:
    with blobread.open(url) as file:
        file.readinto_ranges(offsets, views)


def blobread_reads(url: str, views: Sequence[memoryview], offsets: Sequence[int]) -> None:
    with blobread.open(url) as file:
        for view, offset in zip(views, offsets, strict=True):
            file.seek(offset)
            file.readinto(view)


def blobread_blobs(urls: Sequence[str]) -> list[memoryview]:
    return [view for _, view in blobread.read_many(urls)]


def one_by_one(client: clients.Client, views: Sequence[memoryview], offsets: Sequence[int]) -> None:
    for view, offset in zip(views, offsets, strict=True):
        client.part(view, offset)


def measure_parts(
    case: str,
    subjects: dict[str, _Parts],
    baseline: str,
    offsets: list[int],
    size: int,
    rounds: int,
) -> results.Case:
    """Let all subjects read the same ranges of `size` bytes."""
    array = np.empty((len(offsets), size), np.uint8)
    views = [row.data for row in array]
    return take_turns(
        case,
        {name: partial(read, views, offsets) for name, read in subjects.items()},
        baseline=baseline,
        count=len(offsets),
        rounds=rounds,
        before=lambda: blank(array),
        is_right=lambda nothing: all(map(holds_blob, array, offsets)),
    )


def measure_reads(case: str, url: str, size: int, rounds: int) -> results.Case:
    """Read here and there, each time after the last one has come; the open counts as well."""
    draw = random.Random(2)
    offsets = [draw.randrange((size - _READ) // 8) * 8 for _ in range(_READS)]
    with ExitStack() as stack:
        subjects: dict[str, _Parts] = {}
        for name, connect in CLIENTS.items():
            client = stack.enter_context(closing(connect(url)))
            subjects[name] = partial(one_by_one, client)
        subjects["blobread"] = partial(blobread_reads, url)
        label = f"{case}, {_READS} random reads of {_READ >> 10} KiB"
        return measure_parts(label, subjects, "bare socket", offsets, _READ, rounds)


def measure_ranges(case: str, url: str, offsets: list[int], rounds: int) -> results.Case:
    """Read many ranges, all known at once."""
    with ExitStack() as stack:
        subjects: dict[str, _Parts] = {
            "fsspec": clients.Fsspec(url).parts,
            _LIMIT: stack.enter_context(closing(BareThreads(url))).parts,
            "obstore": clients.Obstore(url).parts,
            "obstore by hand": stack.enter_context(closing(ObstoreThreads(url))).parts,
        }
        if hasattr(blobread.BlobReader, "readinto_ranges"):
            subjects["blobread"] = partial(blobread_parts, url)
        else:
            print(f"{case}: skipped, BlobReader has no readinto_ranges yet", file=sys.stderr)
        return measure_parts(case, subjects, "fsspec", offsets, _RANGE, rounds)


def measure_blobs(case: str, urls: list[str], rounds: int) -> results.Case:
    """Read many blobs; those that cannot fill an array give what they have read."""
    right = expected(0, _BLOB)
    array = np.empty((len(urls), _BLOB), np.uint8)
    views = [row.data for row in array]

    def is_right(found: object) -> bool:
        pieces = found if isinstance(found, list) else views
        return len(pieces) == len(urls) and all(piece == right for piece in pieces)

    with closing(BareThreads(urls[0])) as bare:
        subjects: dict[str, Callable[[], object]] = {
            _LIMIT: partial(bare.blobs, urls, views),
            "fsspec": partial(fsspec_blobs, urls),
            "obstore": partial(obstore_blobs, urls),
        }
        if hasattr(blobread, "read_many"):
            subjects["blobread"] = partial(blobread_blobs, urls)
        else:
            print(f"{case}: skipped, blobread has no read_many yet", file=sys.stderr)
        return take_turns(
            case,
            subjects,
            baseline="fsspec",
            count=len(urls),
            rounds=rounds,
            before=lambda: blank(array),
            is_right=is_right,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="a smaller blob, to 10 ms, one round")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 5)
    size = _QUICK_SIZE if options.quick else _SIZE
    draw = random.Random(3)
    far = [draw.randrange((size - _RANGE) // 8) * 8 for _ in range(_RANGES)]
    near = [number * (_RANGE + _NEAR) for number in range(_RANGES)]
    draw.shuffle(near)
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_blob(root / "large", size)
        names = [f"small{number}" for number in range(max(_BLOBS.values()))]
        for name in names:
            write_blob(root / name, _BLOB)
        for delay, count in _BLOBS.items():
            if options.quick and delay > _QUICK_DELAY:
                continue
            with serving(delay, root=root) as link:
                url, label = f"{link.url}large", f"{delay * 1e3:.0f} ms"
                if delay:
                    start = f"{label}, open and first 4 KiB"
                    cases += [
                        measure_opens(url, start, rounds, _OPENS),
                        measure_reads(label, url, size, rounds),
                    ]
                    for kind, offsets in {"far": far, "near": near}.items():
                        case = f"{label}, {_RANGES} ranges of {_RANGE >> 10} KiB, {kind}"
                        cases.append(measure_ranges(case, url, offsets, rounds))
                urls = [link.url + name for name in names[:count]]
                case = f"{label}, {count} blobs of {_BLOB >> 10} KiB"
                cases.append(measure_blobs(case, urls, rounds))
    print(results.save("link_small", cases))


if __name__ == "__main__":
    main()
