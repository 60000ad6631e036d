"""Read a blob into an array, check every byte, and show how fast it was and with which buffer.

Without a URL: a blob of its own, from disk and over HTTP. ci/demo installs blobread and calls it.
"""

import argparse
import hashlib
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import blobread
from blobread.cli.bench import table
from blobread.cli.measure import Report, measure
from blobread.cli.picture import blank_figure, draw
from blobread.cli.progress import progress_bar
from blobread.sizes import format_size, parse_size

PIECE = 16 << 20
MOST = 1 << 30  # of somebody else's blob: it must fit into memory


class Mismatch(Exception):
    """A byte is not what it must be."""


def own_words(first: int, last: int) -> NDArray[np.uint64]:
    """The 8-byte words of our blob: each tells its own place, and looks like noise."""
    return np.arange(first, last, dtype="<u8") * np.uint64(0x9E3779B97F4A7C15)


def write_own_blob(path: Path, size: int) -> str:
    """Write a blob of our own; give the digest of what was written."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, PIECE):
            piece = own_words(start // 8, min(start + PIECE, size) // 8)
            digest.update(piece.data)
            file.write(piece.data)
    return f"sha256:{digest.hexdigest()}"


class RangeHandler(BaseHTTPRequestHandler):
    """One file, under every path: closed ranges, ETag, If-Match; sent by the kernel."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, *arguments: object, file: Path) -> None:
        self.file = file
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        """Tell of the file."""
        self.answer(with_body=False)

    def do_GET(self) -> None:
        """Send the file, or the range of it that is asked for."""
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        """Answer one request."""
        with self.file.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            etag = f'"{os.fstat(file.fileno()).st_mtime_ns:x}-{size:x}"'
            asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
            first, last = (int(asked[1]), min(int(asked[2]), size - 1)) if asked else (0, size - 1)
            if self.headers.get("If-Match", etag) != etag:
                self.head(412, etag, 0)
            elif asked and first > last:
                self.head(416, etag, 0, f"bytes */{size}")
            else:
                place = f"bytes {first}-{last}/{size}" if asked else None
                self.head(206 if asked else 200, etag, last + 1 - first, place)
                if with_body:
                    self.connection.sendfile(file, first, last + 1 - first)

    def head(self, status: int, etag: str, length: int, place: str | None = None) -> None:
        """Send the head of an answer."""
        self.send_response(status)
        self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        if place is not None:
            self.send_header("Content-Range", place)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class RangeServer(ThreadingHTTPServer):
    """Silent about clients that leave in the middle of an answer, as a reader does that seeks."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell of errors of the server's own."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def served(file: Path) -> Iterator[str]:
    """Serve a file on a loopback port; give its URL."""
    with RangeServer(("127.0.0.1", 0), partial(RangeHandler, file=file)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/blob"
        finally:
            server.shutdown()
            thread.join()


def read_into_array(url: str) -> NDArray[np.uint8]:
    """Read a blob, or what of it fits, straight into an array; show a bar and how long it took."""
    with blobread.open(url) as blob:
        if blob.size is None:
            raise Mismatch(f"no array can be made for {blob.info.path!r}, whose size is unknown")
        array = np.empty(min(blob.size, MOST), np.uint8)
        array.fill(0)  # what an earlier array had here must not pass for what is read
        with progress_bar("readinto") as show:
            show(0, array.nbytes)
            began = time.perf_counter()
            for start in range(0, array.nbytes, PIECE):
                part = array[start : start + PIECE]
                if blob.readinto(part.data) != part.nbytes:
                    raise Mismatch(f"{blob.info.path!r} ended early, after byte {start}")
                show(start + part.nbytes, array.nbytes)
            seconds = time.perf_counter() - began
        print(
            f"{array.nbytes} of {blob.size} bytes in {seconds:.3f} s, "
            f"{array.nbytes / seconds / 1e6:.0f} MB/s, by {blob.stats.requests} requests"
        )
    return array


def check_own_words(array: NDArray[np.uint8]) -> None:
    """Compare each byte with what belongs in its place."""
    words = array.view("<u8")
    for start in range(0, len(words), PIECE):
        part = words[start : start + PIECE]
        wrong = np.flatnonzero(part != own_words(start, start + len(part)))
        if wrong.size:
            raise Mismatch(f"the word at byte {8 * (start + int(wrong[0]))} is wrong")
    print("every byte is in its place")


def check_digest(data: NDArray[np.uint8], expected: str, whose: str) -> None:
    """Compare the digest of the bytes with another one."""
    digest = f"sha256:{hashlib.sha256(data.data).hexdigest()}"
    if digest != expected:
        raise Mismatch(f"{digest} is not the digest {whose}: {expected}")
    print(f"{digest}: the digest {whose}")


def show(url: str, digest: str | None) -> Report:
    """Read a blob, check it, and measure it; `digest` is known of our own blob."""
    array = read_into_array(url)
    if digest is not None:
        check_digest(array, digest, "of what was written")
        check_own_words(array)
    with progress_bar("measuring") as bar:
        report = measure(url, on_progress=bar)
    check_digest(array[: report.bytes_read], report.digest, "of each run")
    print(table(report), flush=True)
    return report


def show_own(size: int) -> dict[str, Report]:
    """Read a blob of our own, from disk and over HTTP."""
    with tempfile.TemporaryDirectory(prefix="blobread-demo-") as directory:
        file = Path(directory, "blob")
        digest = write_own_blob(file, size)
        print(f"wrote a blob of {format_size(size)}: {file}")
        print("\nfrom disk:", flush=True)
        reports = {"file": show(str(file), digest)}
        with served(file) as url:
            print("\nover HTTP, on the loopback interface:", flush=True)
            reports["http"] = show(url, digest)
    return reports


def main(arguments: list[str] | None = None) -> int:
    """Show it all; 1 if a byte was wrong or could not be read."""
    parser = argparse.ArgumentParser(prog="ci/demo", description=__doc__, allow_abbrev=False)
    parser.add_argument("url", metavar="URL", nargs="?", help="a blob of yours, instead")
    parser.add_argument("--size", type=parse_size, default=256 << 20, help="of its own blob")
    parser.add_argument("--plot", type=Path, default=Path("build", "demo.png"), metavar="FILE.png")
    given = parser.parse_args(arguments)
    print(
        f"blobread {blobread.__version__}, {platform.python_implementation()} "
        f"{platform.python_version()}, {os.cpu_count()} CPUs"
    )
    try:
        figure = blank_figure()
        if given.url is None:
            reports = show_own(max(8, given.size // 8 * 8))
        else:
            report = show(given.url, None)
            reports = {report.path: report}
        given.plot.parent.mkdir(parents=True, exist_ok=True)
        draw(figure, reports, given.plot)
    except (OSError, Mismatch, blobread.MissingDependencyError) as error:
        print(f"ci/demo: {error}", file=sys.stderr)
        return 1
    print(f"\nthroughput against buffer size: {given.plot.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
