"""A web server that nobody here wrote, for as long as a benchmark runs."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["modules", "running", "serve", "user", "version"]

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
    port = _free_port()
    config = _CONFIG.format(user=user(), state=state, root=root, port=port)
    with running(config, state, port):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def running(config: str, state: Path, port: int, inherited: int | None = None) -> Iterator[None]:
    """Run nginx on a configuration, from when it accepts connections at a port.

    Parameters
    ----------
    config : str
    state : Path
    port : int
    inherited : int, optional
        The descriptor of a socket that listens already, and that nginx is to take over.
    """
    program = _program()
    if program is None:
        raise RuntimeError("nginx is not installed")
    place = state / "nginx.conf"
    place.write_text(config)
    command = [program, "-p", str(state), "-c", str(place), "-e", str(state / "error.log")]
    taken: tuple[int, ...] = () if inherited is None else (inherited,)
    found = {"NGINX": "".join(f"{descriptor};" for descriptor in taken)} if taken else {}
    with subprocess.Popen(command, env=os.environ | found, pass_fds=taken) as server:
        try:
            _wait_for(server, port)
            yield
        finally:
            server.terminate()
            server.wait(_PATIENCE)


def user() -> str:
    """The line of a configuration that lets root's server see a directory of root's."""
    # Workers of a root's server become another user, who may not see the directory.
    return "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""


def modules() -> Path:
    """The directory of the modules that nginx can load."""
    program = _program()
    if program is None:
        raise RuntimeError("nginx is not installed")
    said = subprocess.run([program, "-V"], check=True, capture_output=True, text=True).stderr
    place = said.partition("--modules-path=")[2].split(maxsplit=1)
    return Path(place[0] if place else "/usr/lib/nginx/modules")


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
