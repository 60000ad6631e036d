"""Fixtures for all tests: nothing is left open, and servers to read from."""

import contextlib
import gc
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import FaultServer

from blobread import schemes

pytest_plugins = ["no_skip"]

# Before it is imported: then its assertions say what they compared.
pytest.register_assert_rewrite("blobread.testing")

DESCRIPTORS = Path("/proc/self/fd")
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def open_descriptors() -> set[tuple[str, str]]:
    """The open descriptors of this process and what each is: its number may be used again."""
    found = set()
    for name in os.listdir(DESCRIPTORS) if DESCRIPTORS.is_dir() else ():
        try:
            found.add((name, os.readlink(DESCRIPTORS / name)))
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


def close_idle_connections() -> None:
    """Close what waits for its next use: threads first, as they may give a connection back."""
    workers = sys.modules.get("blobread.transfer.workers")
    if workers is not None:
        workers.PARTS.dismiss(60)
        workers.BLOBS.dismiss(60)
    pool = sys.modules.get("blobread.http.pool")
    if pool is not None:
        pool.close_idle()


@pytest.fixture(autouse=True)
def nothing_is_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, or a descriptor beyond the idle connections of the pool."""
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    yield
    close_idle_connections()
    if request.node.stash.get(FAILED, False):
        return  # its traceback holds what its frames held
    left = open_descriptors() - descriptors
    if left:
        # What only the collector can reach is somebody's cycle, and its owner warns of it.
        gc.collect()
        left = open_descriptors() - descriptors
    left_threads = [thread for thread in threading.enumerate() if thread not in threads]
    assert not left_threads, f"threads are left: {left_threads}"
    assert not left, f"descriptors are left open: {sorted(left)}"


@pytest.fixture
def fault_server() -> Iterator[FaultServer]:
    """A fault server; at the end, every fault that was planned must have acted."""
    with FaultServer() as server:
        yield server
    server.check()


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx: the files below `root` are at `url`."""

    url: str
    root: Path


NGINX_CONFIG = """\
{user}
daemon off;
master_process off;
pid {work}/nginx.pid;
error_log {work}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


# Runs a server until whoever started it closes the pipe, or dies.
KEEPER = """\
import subprocess, sys
with subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
    sys.stdin.read()
    server.terminate()
"""


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx on a loopback port, over a directory of its own."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    root, work = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("nginx")
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = work / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(user=user, work=work, root=root, port=port))
    log = work / "error.log"
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPER, program, "-p", str(work), "-e", str(log), "-c", str(config)],
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        if not answers(port, seconds=20):
            raise RuntimeError(f"nginx does not start: {log.read_text()}")
        yield Nginx(f"http://127.0.0.1:{port}", root)
    finally:
        process.stdin.close()
        process.wait(timeout=10)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def answers(port: int, seconds: float) -> bool:
    """Wait until somebody listens on the port; False if nobody does within so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(autouse=True)
def known_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the schemes that a test registers forgotten after it."""
    monkeypatch.setattr(schemes, "_factories", dict(schemes._factories))
