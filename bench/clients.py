"""One class an HTTP client: how its users read a blob with it as fast as it lets them."""

import http.client
import socket
import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Protocol
from urllib.parse import urlsplit

import fsspec
import obstore
import urllib3
from obstore.store import HTTPStore

import blobread

__all__ = ["BareSocket", "Blobread", "Client", "Fsspec", "HttpClient", "Obstore", "Urllib3"]

_PIECE = 16 << 20  # of a body that a client can only give as bytes: 1 GiB of it twice is too much
_HEAD = 16 << 10


class Client(Protocol):
    """A client of one URL. Connections are kept from call to call, as many as there are threads."""

    def __init__(self, url: str) -> None: ...

    def whole(self, views: Sequence[memoryview]) -> None:
        """Open the blob, and read it into one piece of memory after the other."""

    def start(self, size: int) -> bytes:
        """Open the blob and read its first `size` bytes."""

    def part(self, view: memoryview, offset: int) -> None:
        """Read a range into memory; many threads do this at once."""

    def close(self) -> None:
        """Close every connection."""


class Blobread:
    """What this repository is about."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._reader = blobread.open(url)

    def whole(self, views: Sequence[memoryview]) -> None:
        with blobread.open(self._url) as file:
            for view in views:
                file.readinto(view)

    def start(self, size: int) -> bytes:
        with blobread.open(self._url) as file:
            return file.read(size)

    def part(self, view: memoryview, offset: int) -> None:
        self._reader.readinto_at(view, offset)

    def close(self) -> None:
        self._reader.close()


class BareSocket:
    """The least that HTTP can cost: one send, the body received in its place, and no check."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._path = parts.path
        self._start = f"GET {{}} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        self._own = threading.local()
        self._all: list[socket.socket] = []

    def _connection(self) -> socket.socket:
        connection: socket.socket | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = socket.create_connection(self._address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._own.connection = connection
            self._all.append(connection)
        return connection

    def whole(self, views: Sequence[memoryview]) -> None:
        connection = self._connection()
        body = self._ask(connection, 0, sum(map(len, views)))
        for view in views:
            self._fill(connection, view, body)
            body = body[len(view) :]

    def start(self, size: int) -> bytes:
        out = bytearray(size)
        self.part(memoryview(out), 0)
        return bytes(out)

    def part(self, view: memoryview, offset: int, path: str = "") -> None:
        """Read a range, of another path of the server where one is given."""
        connection = self._connection()
        body = self._ask(connection, offset, offset + len(view), path)
        self._fill(connection, view, body)

    def _ask(self, connection: socket.socket, offset: int, stop: int, path: str = "") -> bytes:
        """Ask for a range; gives as much of the body as has come with the head."""
        start = self._start.format(path or self._path)
        connection.sendall(f"{start}Range: bytes={offset}-{stop - 1}\r\n\r\n".encode())
        head = connection.recv(_HEAD)
        while (end := head.find(b"\r\n\r\n")) < 0:
            head += connection.recv(_HEAD)
        return head[end + 4 :]

    @staticmethod
    def _fill(connection: socket.socket, view: memoryview, body: bytes) -> None:
        done = min(len(body), len(view))
        view[:done] = body[:done]
        while done < len(view):
            got = connection.recv_into(view[done:])
            if got == 0:
                raise ConnectionError("the server hung up")
            done += got

    def close(self) -> None:
        for connection in self._all:
            connection.close()


class HttpClient:
    """The standard library's, with its own parser and `readinto`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._netloc = parts.netloc
        self._path = parts.path
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._netloc)
            self._own.connection = connection
            self._all.append(connection)
        return connection

    def _ask(self, offset: int, stop: int) -> http.client.HTTPResponse:
        connection = self._connection()
        connection.request("GET", self._path, headers={"Range": f"bytes={offset}-{stop - 1}"})
        return connection.getresponse()

    def whole(self, views: Sequence[memoryview]) -> None:
        with self._ask(0, sum(map(len, views))) as response:
            for view in views:
                self._fill(response, view)

    def start(self, size: int) -> bytes:
        return self._ask(0, size).read()

    def part(self, view: memoryview, offset: int) -> None:
        with self._ask(offset, offset + len(view)) as response:
            self._fill(response, view)

    @staticmethod
    def _fill(response: http.client.HTTPResponse, view: memoryview) -> None:
        done = 0
        while done < len(view) and (got := response.readinto(view[done:])):
            done += got

    def close(self) -> None:
        for connection in self._all:
            connection.close()


class Urllib3:
    """The client below requests and botocore."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(maxsize=16)

    def _ask(self, offset: int, stop: int) -> urllib3.BaseHTTPResponse:
        fields = {"Range": f"bytes={offset}-{stop - 1}"}
        return self._pool.request("GET", self._url, headers=fields, preload_content=False)

    def whole(self, views: Sequence[memoryview]) -> None:
        response = self._ask(0, sum(map(len, views)))
        for view in views:
            self._fill(response, view)
        response.release_conn()

    def start(self, size: int) -> bytes:
        response = self._ask(0, size)
        out: bytes = response.read()
        response.release_conn()
        return out

    def part(self, view: memoryview, offset: int) -> None:
        response = self._ask(offset, offset + len(view))
        self._fill(response, view)
        response.release_conn()

    @staticmethod
    def _fill(response: urllib3.BaseHTTPResponse, view: memoryview) -> None:
        done = 0
        while done < len(view):
            piece = response.read(min(_PIECE, len(view) - done))
            if not piece:
                raise ConnectionError("the server hung up")
            view[done : done + len(piece)] = piece
            done += len(piece)

    def close(self) -> None:
        self._pool.clear()


class Fsspec:
    """Its HTTP filesystem, over aiohttp."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._files: Any = fsspec.filesystem("http", skip_instance_cache=True)

    def whole(self, views: Sequence[memoryview]) -> None:
        if len(views) == 1:
            views[0][:] = self._files.cat_file(self._url, 0, len(views[0]))
            return
        with self._files.open(self._url) as file:
            for view in views:
                file.readinto(view)

    def start(self, size: int) -> bytes:
        with self._files.open(self._url, block_size=size) as file:
            out: bytes = file.read(size)
            return out

    def parts(self, views: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """Read all ranges by its own call for that, which runs them side by side."""
        stops = [offset + len(view) for offset, view in zip(offsets, views, strict=True)]
        urls = [self._url] * len(views)
        for view, piece in zip(
            views, self._files.cat_ranges(urls, list(offsets), stops), strict=True
        ):
            view[:] = piece

    def part(self, view: memoryview, offset: int) -> None:
        view[:] = self._files.cat_file(self._url, offset, offset + len(view))

    def close(self) -> None:
        pass


class Obstore:
    """Rust's object_store, over reqwest."""

    def __init__(self, url: str) -> None:
        root, _, self._path = url.rpartition("/")
        self._store = HTTPStore.from_url(root, client_options={"allow_http": True})

    def whole(self, views: Sequence[memoryview]) -> None:
        if len(views) > 1:
            with closing(obstore.open_reader(self._store, self._path)) as file:
                for view in views:
                    view[:] = memoryview(file.read(len(view)))
            return
        done = 0
        for piece in obstore.get(self._store, self._path).stream(min_chunk_size=1 << 20):
            size = len(piece)
            views[0][done : done + size] = memoryview(piece)
            done += size

    def start(self, size: int) -> bytes:
        return bytes(obstore.get_range(self._store, self._path, start=0, length=size))

    def parts(self, views: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """Read all ranges by its own call for that, which joins those that are near."""
        sizes = [len(view) for view in views]
        pieces = obstore.get_ranges(self._store, self._path, starts=list(offsets), lengths=sizes)
        for view, piece in zip(views, pieces, strict=True):
            view[:] = memoryview(piece)

    def part(self, view: memoryview, offset: int) -> None:
        got = obstore.get_range(self._store, self._path, start=offset, length=len(view))
        view[:] = memoryview(got)

    def close(self) -> None:
        pass
