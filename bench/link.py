"""A loopback link with a delay before the first byte and a bound on the rate of each connection.

No proxy is on the way and no CPU is spent on it: the kernel paces what nginx sends, and a
subrequest that sleeps (its echo module) delays the answer. Bare sockets measure what came of it.

Run: python bench/link.py [--delay SECONDS] [--rate BYTES_A_SECOND]
"""

import argparse
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.request import urlopen

import nginx
import numpy as np
from blob import blank, holds_blob, write_blob
from clients import BareSocket
from link_clients import BareThreads

__all__ = ["DELAYS", "RATE", "Counts", "Link", "check", "serve_link", "serving"]

DELAYS = (0.0, 0.01, 0.05, 0.15)  # seconds to the first byte
RATE = 50_000_000  # bytes a second and connection, as object stores have it

_SO_MAX_PACING_RATE = 47  # <asm-generic/socket.h>; the module `socket` does not name it
_SNDBUF = 256 << 10  # what is under way when a client goes is counted as sent: keep it small
_CHECKED = 16 << 20
_OFF = 0.1
_LATE = 0.0015  # seconds that the system's scheduler may add
_EARLY = 0.001  # nginx counts in milliseconds
_ATTEMPTS = 5
_CONNECTIONS = 16
_PATIENCE = 10.0

# tcp_nopush: with it the end of every other answer of 64 KiB waits 40 ms for a delayed ACK.
_CONFIG = """
load_module {module};
{user}
daemon off;
worker_processes 1;
pid {state}/nginx.pid;
error_log {state}/error.log error;
events {{ worker_connections 4096; }}
http {{
    log_format counted '$bytes_sent';
    access_log {state}/access.log counted;
    sendfile on;
    tcp_nopush off;
    keepalive_requests 1000000000;
    client_body_temp_path {state}/body;
    proxy_temp_path {state}/proxy;
    fastcgi_temp_path {state}/fastcgi;
    uwsgi_temp_path {state}/uwsgi;
    scgi_temp_path {state}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location / {{ {ask} }}
        location = /.delay {{ internal; echo_sleep {delay}; echo ""; }}
        location = /.status {{ access_log off; stub_status; }}
    }}
}}
"""


class Counts(NamedTuple):
    """What a server has sent: heads and bodies, whether or not a client took them."""

    bytes: int
    requests: int


class Link(NamedTuple):
    """A link that is served: the URL of the directory, with its slash, and what was asked for."""

    url: str
    delay: float
    rate: int | None
    log: Path

    def counts(self) -> Counts:
        """Tell what was sent since the start, once no request is under way any more."""
        # A request is written down when it has ended, which for one that was cut off is soon.
        deadline = time.monotonic() + _PATIENCE
        while b"Writing: 1 " not in (said := _got(f"{self.url}.status")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"requests are under way that do not end: {said!r}")
            time.sleep(0.001)
        sent = [int(line) for line in self.log.read_text().split()]
        return Counts(sum(sent), len(sent))


@contextmanager
def serve_link(root: Path, state: Path, delay: float, rate: int | None = RATE) -> Iterator[Link]:
    """Serve the files of a directory, each answer `delay` late, each connection at `rate` at most.

    Parameters
    ----------
    root : Path
    state : Path
        An empty directory for what nginx writes.
    delay : float
        Seconds from a request to the first byte of its answer.
    rate : int or None
        Bytes a second for each connection. None: as fast as it goes.
    """
    if sys.platform != "linux":
        raise RuntimeError("only Linux paces the connections of a listening socket")
    module = nginx.modules() / "ngx_http_echo_module.so"
    if not module.exists():
        raise RuntimeError(f"nginx has no {module}: install its echo module")
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        # Accepted sockets inherit all of these. Not bbr, where that is the default: it looks for
        # a rate of its own below the bound.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SNDBUF)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        if rate is not None:
            listener.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, rate)
        port = listener.getsockname()[1]
        config = _CONFIG.format(
            module=module,
            user=nginx.user(),
            state=state,
            root=root,
            port=port,
            ask="auth_request /.delay;" if delay else "",
            delay=delay,
        )
        with nginx.running(config, state, port, listener.fileno()):
            listener.close()
            yield Link(f"http://127.0.0.1:{port}/", delay, rate, state / "access.log")


@contextmanager
def serving(delay: float, rate: int | None = RATE, root: Path | None = None) -> Iterator[Link]:
    """Serve a directory, or an empty one, by a link that has been checked."""
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryDirectory() as state:
        place = root or Path(own)
        with serve_link(place, Path(state), delay, rate) as link:
            check(link, place)
            yield link


def check(link: Link, root: Path) -> None:
    """Measure a link by bare sockets, and end the program if it is not what was asked for.

    Parameters
    ----------
    link : Link
    root : Path
        The directory that is served; a blob is written to it for this, and removed.
    """
    blob = root / ".check"
    write_blob(blob, _CHECKED * _CONNECTIONS)
    # What else the machine is doing at a moment is no fault of the link.
    is_right = any(_is_as_asked(link) for _ in range(_ATTEMPTS))
    blob.unlink()
    if not is_right:
        sys.exit("the link is not what was asked for")


def _is_as_asked(link: Link) -> bool:
    """Measure a link, and print what was found."""
    array = np.empty(_CHECKED * _CONNECTIONS, np.uint8)
    blank(array)  # its pages exist from here on
    url = f"{link.url}.check"
    with closing(BareSocket(url)) as one, closing(BareThreads(url, _CONNECTIONS)) as many:
        one.start(1)
        late = median(_timed(lambda: one.start(1)) for _ in range(9))
        took = median(_timed(lambda: one.part(array.data[:_CHECKED], 0)) for _ in range(3))
        rate = _CHECKED / (took - late)
        many.whole(array.data[: 1 << 20])
        together = array.nbytes / median(_timed(lambda: many.whole(array.data)) for _ in range(3))
    asked = "no bound" if link.rate is None else f"{link.rate / 1e6:.0f} MB/s"
    print(
        f"link: first byte after {late * 1e3:.2f} ms (asked {link.delay * 1e3:.0f}), "
        f"{rate / 1e6:.1f} MB/s a connection (asked {asked}), "
        f"{_CONNECTIONS} connections {together / 1e6:.0f} MB/s",
        file=sys.stderr,
    )
    if not holds_blob(array):
        sys.exit("the link gives wrong bytes")
    is_late = link.delay - _EARLY < late < link.delay * (1 + _OFF) + _LATE
    if link.rate is None:
        return is_late
    share = _CHECKED / link.rate + link.delay  # seconds for what each of many connections brings
    expected = array.nbytes / share
    return is_late and abs(rate / link.rate - 1) < _OFF and together > expected * (1 - _OFF)


def _got(url: str) -> bytes:
    with urlopen(url) as answer:
        out: bytes = answer.read()
        return out


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, action="append")
    parser.add_argument("--rate", type=int, default=RATE)
    options = parser.parse_args()
    for delay in options.delay or DELAYS:
        with serving(delay, options.rate):
            pass


if __name__ == "__main__":
    main()
