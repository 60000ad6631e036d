"""A web server that nobody here wrote, for as long as a benchmark runs."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["serve", "version"]

_PATIENCE = 10.0  # seconds for the server to start, or to stop

# keepalive_requests: the default of 1000 would have each subject connect anew at another moment.
# sndbuf: without a bound the system lets megabytes be under way, and whether these still fit into
# the CPU's cache changes from minute to minute, and the speed of any client threefold with it.
_CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {state}/nginx.pid;
error_log {state}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {state}/body;
    proxy_temp_path {state}/proxy;
    fastcgi_temp_path {state}/fastcgi;
    uwsgi_temp_path {state}/uwsgi;
    scgi_temp_path {state}/scgi;
    server {{
        listen 127.0.0.1:{port} sndbuf=256k;
        root {root};
    }}
}}
"""


@contextmanager
def serve(root: Path, state: Path) -> Iterator[str]:
    """Serve the files of a directory over loopback; gives the URL of the directory, with its slash.

    Parameters
    ----------
    root : Path
    state : Path
        An empty directory for what nginx writes.
    """
    program = _program()
    if program is None:
        raise RuntimeError("nginx is not installed")
    port = _free_port()
    # Workers of a root's server become another user, who may not see the directory.
    user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    config = state / "nginx.conf"
    config.write_text(_CONFIG.format(user=user, state=state, root=root, port=port))
    command = [program, "-p", str(state), "-c", str(config), "-e", str(state / "error.log")]
    with subprocess.Popen(command) as server:
        try:
            _wait_for(server, port)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(_PATIENCE)


def version() -> str | None:
    """The version of the nginx that is installed."""
    program = _program()
    if program is None:
        return None
    said = subprocess.run([program, "-v"], check=True, capture_output=True, text=True).stderr
    return said.strip().rpartition("/")[2]


def _program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise RuntimeError(f"nginx did not start; it ended with {server.poll()}")
