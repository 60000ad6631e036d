"""Every driver of ours keeps the promises of DriverSuite, against a real store."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import pytest
from conftest import Nginx

from blobread.drivers.file import FileDriver
from blobread.drivers.http import HttpDriver
from blobread.drivers.memory import MemoryDriver
from blobread.testing import BlobStore, DriverSuite
from blobread.verify import VerifyingDriver


class Directory:
    """Blobs as files; each gets a modification time of its own, a second later than the last."""

    clock = 1_500_000_000

    def __init__(self, root: Path, prefix: str) -> None:
        self.root = root
        self.prefix = prefix

    def path(self, name: str) -> str:
        return self.prefix + name

    def put(self, name: str, data: bytes) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name("being written")
        new.write_bytes(data)
        Directory.clock += 1
        os.utime(new, (Directory.clock, Directory.clock))
        new.replace(file)

    def delete(self, name: str) -> None:
        (self.root / name).unlink()


class LocalDirectory(Directory):
    def path(self, name: str) -> str:
        return self.prefix + name.replace("/", os.sep)

    def make_directory(self, name: str) -> None:
        (self.root / name).mkdir()


class Website(Directory):
    def path(self, name: str) -> str:
        return self.prefix + quote(name)


class SignedWebsite(Directory):
    """Needs, or so it seems, a name, a password and a signature."""

    def path(self, name: str) -> str:
        host = self.prefix.removeprefix("http://")
        return f"http://jo:pass-word@{host}{quote(name)}?sig=signa-ture"


class Memory(MemoryDriver):
    def path(self, name: str) -> str:
        return name


@pytest.fixture(scope="module")
def website(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Python's own server of files, in a process of its own, since this one forks."""
    root = tmp_path_factory.mktemp("website")
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield root, process.stdout.readline().split("(")[1].split("/)")[0]
        finally:
            process.terminate()


# Windows and macOS take these two for one name, and Windows takes no dot at the end of one.
NAMES_OF_FILES = (
    DriverSuite.names
    if sys.platform == "linux"
    else tuple(name for name in DriverSuite.names if not name.startswith(("Docker/", "abc./")))
)
# Windows has names like these, and says of one that is too long that it is not there.
UNNAMEABLE = () if os.name == "nt" else ("\ud800", "x" * 5000)


class TestFileDriver(DriverSuite):
    names: ClassVar = NAMES_OF_FILES
    invalid_paths: ClassVar = ("", "a\0b", *UNNAMEABLE)
    replaces_while_read = os.name != "nt"

    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return LocalDirectory(tmp_path, f"{tmp_path}{os.sep}")

    @pytest.fixture
    def driver(self) -> FileDriver:
        return FileDriver()


class TestFileDriverBelowARoot(TestFileDriver):
    invalid_paths: ClassVar = (
        *TestFileDriver.invalid_paths, "/", "/etc/hostname", "..", "../x", "a/../../x", "a/..",
    )  # fmt: skip

    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return LocalDirectory(tmp_path, "")

    @pytest.fixture
    def driver(self, tmp_path: Path) -> FileDriver:
        return FileDriver(tmp_path)


class TestVerifyingDriver(TestFileDriver):
    """Over files, of which no digest is known."""

    @pytest.fixture
    def driver(self) -> VerifyingDriver:
        return VerifyingDriver(FileDriver(), True)


class TestMemoryDriver(DriverSuite):
    @pytest.fixture
    def store(self) -> BlobStore:
        return Memory()

    @pytest.fixture
    def driver(self, store: Memory) -> MemoryDriver:
        return store


URLS_OF_NOBODY = (
    "",
    "no-url",
    "ftp://127.0.0.1/x",
    "http://",
    "http:///x",
    "http://a b/",
    "http://127.0.0.1/\n",
)


class TestHttpDriver(DriverSuite):
    """Over nginx, which knows ranges and strong entity tags."""

    names: ClassVar = NAMES_OF_FILES
    invalid_paths: ClassVar = URLS_OF_NOBODY

    @pytest.fixture
    def store(self, nginx: Nginx, tmp_path: Path) -> BlobStore:
        (nginx.root / tmp_path.name).mkdir()
        return Website(nginx.root / tmp_path.name, f"{nginx.url}/{tmp_path.name}/")

    @pytest.fixture
    def driver(self) -> HttpDriver:
        return HttpDriver()


class TestHttpDriverWithSecrets(TestHttpDriver):
    """As before, with secrets in the URL and in the headers."""

    secrets: ClassVar = ("pass-word", "signa-ture", "to-ken")

    @pytest.fixture
    def store(self, nginx: Nginx, tmp_path: Path) -> BlobStore:
        (nginx.root / tmp_path.name).mkdir()
        return SignedWebsite(nginx.root / tmp_path.name, f"{nginx.url}/{tmp_path.name}/")

    @pytest.fixture
    def driver(self) -> HttpDriver:
        return HttpDriver(headers={"X-Api-Key": "to-ken"})


class TestHttpDriverWithoutRanges(DriverSuite):
    """Over http.server, which sends whole files, tells only their times, and closes each time."""

    names: ClassVar = NAMES_OF_FILES
    invalid_paths: ClassVar = URLS_OF_NOBODY

    @pytest.fixture
    def store(self, website: tuple[Path, str], tmp_path: Path) -> BlobStore:
        root, url = website
        (root / tmp_path.name).mkdir()
        return Website(root / tmp_path.name, f"{url}/{tmp_path.name}/")

    @pytest.fixture
    def driver(self) -> HttpDriver:
        return HttpDriver()
