"""Where a consumer's blob lies: in a file, in memory, or on a web server."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from conftest import Nginx

import blobread
from blobread.drivers import memory

# No name is used twice: to nginx, a file of the same second and size is the same version.
_numbers = itertools.count()


@dataclass
class Store:
    """A place for blobs; what was put there is removed by `cleanup`."""

    prefix: str
    write: Callable[[str, bytes], object]
    remove: Callable[[str], object]
    cleanup: ExitStack = field(default_factory=ExitStack)

    def put(self, data: bytes, suffix: str = "") -> str:
        """Store `data`, and give its URL."""
        name = f"blob{next(_numbers)}{suffix}"
        self.write(name, data)
        self.cleanup.callback(self.remove, name)
        return self.prefix + name

    def open(self, data: bytes) -> blobread.BlobReader:
        """Store `data`, and open it."""
        return blobread.open(self.put(data))


def in_directory(prefix: str, directory: Path) -> Store:
    return Store(
        prefix,
        lambda name, data: (directory / name).write_bytes(data),
        lambda name: (directory / name).unlink(),
    )


# Of a module: what starts the web server comes before what looks for open descriptors in a test.
@pytest.fixture(scope="module", params=["file", "memory", "http"])
def place(request: pytest.FixtureRequest) -> Callable[[Path], Store]:
    match request.param:
        case "file":
            return lambda directory: in_directory(f"{directory}/", directory)
        case "memory":
            return lambda _: Store("memory://", memory.shared.put, memory.shared.delete)
        case _:
            nginx = request.getfixturevalue("nginx")
            return lambda _: in_directory(f"{nginx.url}/", nginx.root)


@pytest.fixture
def store(place: Callable[[Path], Store], tmp_path: Path) -> Iterator[Store]:
    """Each store in turn."""
    store = place(tmp_path)
    with store.cleanup:
        yield store


@pytest.fixture
def web(nginx: Nginx) -> Iterator[Store]:
    """A web server only: for tests that count what was asked of it."""
    store = in_directory(f"{nginx.url}/", nginx.root)
    with store.cleanup:
        yield store


@pytest.fixture(scope="session")
def noise() -> bytes:
    """Bytes that no codec makes smaller, and more than the first request of an open brings."""
    return np.random.default_rng(20260101).bytes(600_007)


@pytest.fixture(scope="session")
def text() -> bytes:
    """Lines of all lengths, most of them short."""
    sizes = np.random.default_rng(7).geometric(1 / 40, 9_000)
    return b"".join(b"%d:%s\n" % (n, b"x" * int(size)) for n, size in enumerate(sizes))
