"""From a URL to a driver: what is known, what is found, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

import blobread
from blobread import InvalidPathError, schemes
from blobread.drivers.file import FileDriver
from blobread.drivers.http import HttpDriver
from blobread.drivers.memory import MemoryDriver, shared


def mine(url: str, /, *, colour: str = "red") -> tuple[MemoryDriver, str]:
    return MemoryDriver({url: colour.encode()}), url


@pytest.mark.parametrize(
    "path",
    [
        "blob", "/a/blob", "./a", "a:b", "a:/b", "C:\\a\\b", "C:/a", "C://a", "c:a",
        "\\\\host\\share", "//host/a", "http:/a", "://a", "1a://b",
        "file:", "file:a", "", " file:///a", "é://a",
    ],
)  # fmt: skip
def test_what_has_no_scheme_is_the_path_of_a_file(path: str) -> None:
    driver, found = schemes.resolve(path, {})
    assert type(driver) is FileDriver
    assert found == path


@pytest.mark.parametrize(
    "path", [PurePosixPath("a/b"), PureWindowsPath("C:/a"), Path("memory://a")]
)
def test_path_object_is_the_path_of_a_file(path: os.PathLike[str]) -> None:
    driver, found = schemes.resolve(path, {})
    assert type(driver) is FileDriver
    assert found == str(path)


@pytest.mark.parametrize(
    ("url", "driver", "path"),
    [
        ("memory://a/b", MemoryDriver, "a/b"),
        ("MEMORY://a", MemoryDriver, "a"),
        ("http://h/a?b", HttpDriver, "http://h/a?b"),
        ("https://h/a", HttpDriver, "https://h/a"),
        ("HTTPS://h/a", HttpDriver, "HTTPS://h/a"),
    ],
)
def test_scheme_gives_its_driver(url: str, driver: type, path: str) -> None:
    found = schemes.resolve(url, {})
    assert type(found[0]) is driver
    assert found[1] == path


@pytest.mark.parametrize("url", [None, 5, b"file:///a", ["a"], {"a"}])
def test_what_is_no_url_is_a_type_error(url: object) -> None:
    with pytest.raises(TypeError, match=type(url).__name__):
        schemes.resolve(url, {})  # type: ignore[arg-type]


def test_path_object_of_bytes_is_a_type_error() -> None:
    class Bytes:
        def __fspath__(self) -> bytes:
            return b"a"

    with pytest.raises(TypeError, match="bytes"):
        schemes.resolve(Bytes(), {})  # type: ignore[arg-type]


def test_callable_gives_a_url_of_http() -> None:
    driver, path = schemes.resolve(lambda: "http://h/a?signature=1", {"connect_timeout": 3.0})
    assert type(driver) is HttpDriver
    assert path == "http://h/a?signature=1"


@pytest.mark.parametrize(
    "gives", ["file:///etc/hostname", "/etc/hostname", "memory://a", b"http://h", None]
)
def test_callable_that_gives_anything_else_is_a_type_error(gives: object) -> None:
    with pytest.raises(TypeError, match="callable"):
        schemes.resolve(lambda: gives, {})  # type: ignore[arg-type,return-value]


# ---- options -------------------------------------------------------------------------------------


def test_option_goes_to_the_driver(tmp_path: Path) -> None:
    driver, _ = schemes.resolve("blob", {"root": tmp_path})
    assert isinstance(driver, FileDriver)
    assert driver.root == str(tmp_path)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("blob", ["root"]),
        ("file:///blob", ["root"]),
        ("memory://blob", ["none"]),
        ("http://h/blob", ["headers", "ssl_context", "connect_timeout", "idle_timeout", "proxy"]),
    ],
)
def test_unknown_option_is_a_type_error_that_names_the_known_ones(
    url: str, names: list[str]
) -> None:
    with pytest.raises(TypeError, match="unknown option colour, shape; driver") as caught:
        schemes.resolve(url, {"shape": 1, "colour": 2})
    known = str(caught.value).partition("knows ")[2].split(", ")
    assert set(names) <= set(known)


# ---- schemes of others ---------------------------------------------------------------------------


def test_registered_scheme_opens_what_its_factory_gives() -> None:
    blobread.register_scheme("My+Scheme", mine)
    for url in ("my+scheme://a", "MY+SCHEME://a"):
        with blobread.open(url, colour="blue") as reader:
            assert reader.read() == b"blue"
            assert reader.name == url
    with blobread.open("my+scheme://a", storage_options={"colour": "green"}) as reader:
        assert reader.read() == b"green"


def test_registered_scheme_replaces_one_that_exists() -> None:
    blobread.register_scheme("memory", mine)
    assert schemes.resolve("memory://a", {})[0] is not shared


@pytest.mark.parametrize("scheme", ["", "a", "1a", "a b", "a/b", "a:", "a://b", "é1", "-a", "ab\n"])
def test_name_that_no_scheme_has_is_a_value_error(scheme: str) -> None:
    with pytest.raises(ValueError, match="is no scheme"):
        blobread.register_scheme(scheme, mine)


def test_factory_that_cannot_be_called_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="str"):
        blobread.register_scheme("mine", "module:factory")  # type: ignore[arg-type]


def test_unknown_scheme_is_an_error_that_names_the_known_ones() -> None:
    blobread.register_scheme("mine", mine)
    with pytest.raises(InvalidPathError, match="gopher://") as caught:
        blobread.open("gopher://h/secret?signature=1")
    assert "file, http, https, memory, mine" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "signature" not in str(caught.value)


# ---- schemes that are installed ------------------------------------------------------------------

ENTRY_POINTS = """\
[blobread.drivers]
installed = a_driver_of_others:make
broken = a_driver_of_others:nothing
memory = a_driver_of_others:never

[other.group]
elsewhere = a_driver_of_others:make
"""

MODULE = """\
from blobread.drivers.memory import MemoryDriver

def make(url, /, *, colour="red"):
    return MemoryDriver({url: colour.encode()}), url
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory that a package with a driver is installed in."""
    (tmp_path / "a_driver_of_others.py").write_text(MODULE)
    info = tmp_path / "a_driver_of_others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: a-driver-of-others\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return tmp_path


@pytest.fixture
def on_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    monkeypatch.delitem(sys.modules, "a_driver_of_others", raising=False)


@pytest.mark.usefixtures("on_path")
def test_scheme_of_an_installed_package_is_found_when_it_is_needed() -> None:
    assert "a_driver_of_others" not in sys.modules
    with blobread.open("installed://a", colour="blue") as reader:
        assert reader.read() == b"blue"
    assert blobread.stat("Installed://a").size == 3


@pytest.mark.usefixtures("on_path")
def test_unknown_scheme_names_what_is_installed_too() -> None:
    with pytest.raises(InvalidPathError, match="broken, file, http, https, installed, memory"):
        blobread.open("elsewhere://a")


@pytest.mark.usefixtures("on_path")
def test_installed_package_does_not_take_a_scheme_of_ours() -> None:
    assert schemes.resolve("memory://a", {})[0] is shared


@pytest.mark.usefixtures("on_path")
def test_installed_package_that_is_broken_says_what_is_wrong() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        blobread.open("broken://a")


def test_no_installed_package_is_looked_for_before_it_is_needed(installed: Path) -> None:
    program = """
import sys
import blobread
blobread.open("a_driver_of_others.py").close()
assert "importlib.metadata" not in sys.modules
with blobread.open("installed://a") as reader:
    assert reader.read() == b"red"
"""
    path = os.pathsep.join([str(installed), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", program], cwd=installed, env=environment, check=True)
