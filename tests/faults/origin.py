"""One listening address of the fault server, and the threads that serve it."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable

from .connection import Connection, ConnectionOver
from .plan import Fault, Ledger

__all__ = ["Origin"]


class Origin:
    """A TCP or TLS address on the loopback.

    Workers take turns: whoever accepts a connection first makes sure that another one waits at
    the door, then serves. So no connection waits for a thread to be woken for it, and no more
    threads live than connections were open at once.

    Parameters
    ----------
    serve : callable
        Given each connection.
    host : str
    tls : ssl.SSLContext, optional
    plan : sequence of Fault
        Of the phase "connect"; `ledger` tells which of them have acted.
    listening : bool
        False: connections are refused, until `listen` is called.
    """

    def __init__(
        self,
        serve: Callable[[Connection], None],
        host: str = "127.0.0.1",
        *,
        tls: ssl.SSLContext | None = None,
        plan: tuple[Fault, ...] = (),
        listening: bool = True,
    ) -> None:
        self.plan = plan
        self.ledger = Ledger()
        self.errors: list[BaseException] = []
        self._serve = serve
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._workers: set[threading.Thread] = set()
        self._waiting = 0
        self._closing = False
        self._callers: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_INET)
        self._listener.bind((host, 0))
        port = self._listener.getsockname()[1]
        self.name = f"{host}:{port}"
        self.url = f"{'https' if tls else 'http'}://{self.name}"
        if listening:
            self.listen()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    def listen(self) -> None:
        """Accept connections from now on."""
        self._listener.listen(128)
        with self._lock:
            self._add_worker()

    def jam(self) -> None:
        """Let every further connect hang: the backlog is full, and nobody accepts."""
        self._listener.listen(0)
        for _ in range(64):
            # On a busy machine the queue fills late: one that was let in says so at once.
            if not select.select([], [self._call()], [], 0.2)[1]:
                return
        raise RuntimeError("the backlog does not fill")

    def unfired(self) -> list[Fault]:
        return [fault for fault in self.plan if not self.ledger.count(fault)]

    def close(self) -> None:
        """Cut every connection, and come back when no thread is left."""
        with self._lock:
            self._closing = True
            for connection in self._connections:
                _cut(connection.sock)
            workers = list(self._workers)
        # One caller for each worker that may stand at the door: closing a listener does not
        # wake its accept() on every system.
        for _ in workers:
            self._call()
        for worker in workers:
            worker.join()
        for caller in self._callers:
            caller.close()
        self._listener.close()

    def _call(self) -> socket.socket:
        caller = socket.socket(socket.AF_INET)
        caller.setblocking(False)
        caller.connect_ex(self.address)
        self._callers.append(caller)
        return caller

    def _add_worker(self) -> None:
        self._waiting += 1
        worker = threading.Thread(target=self._work, name=f"fault server {self.name}")
        self._workers.add(worker)
        worker.start()

    def _work(self) -> None:
        while self._accept_one():
            pass

    def _accept_one(self) -> bool:
        """Serve one connection; False if this worker is not needed any more."""
        sock, _ = self._listener.accept()
        with self._lock:
            self._waiting -= 1
            self._accepted += 1
            connection = Connection(sock, self.name, self._accepted)
            self._connections.add(connection)
            if not self._closing and not self._waiting:
                self._add_worker()
        try:
            if not self._closing:
                self._greet(connection)
                self._serve(connection)
        except (ConnectionOver, OSError):
            pass
        except BaseException as error:
            self.errors.append(error)
        with self._lock:
            self._connections.discard(connection)
            connection.sock.close()
            if self._closing or self._waiting > 1:
                self._workers.discard(threading.current_thread())
                return False
            self._waiting += 1
            return True

    def _greet(self, connection: Connection) -> None:
        for fault in self.plan:
            if self.ledger.take(fault, None):
                fault.kind.apply(connection, **fault.params)
        if self._tls is None:
            return
        with self._lock:
            connection.sock = self._tls.wrap_socket(
                connection.sock, server_side=True, do_handshake_on_connect=False
            )
        assert isinstance(connection.sock, ssl.SSLSocket)
        connection.sock.do_handshake()


def _cut(sock: socket.socket) -> None:
    """Wake the thread that waits on this socket."""
    # Not SSLSocket's own, which takes the TLS state away from under that thread.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
