"""What is particular to files: their names, what else is in a file system, and how they change."""

import errno
import os
import pickle
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

import blobread
from blobread import (
    AccessDeniedError,
    BlobChangedError,
    BlobError,
    BlobInfo,
    BlobIsDirectoryError,
    BlobReader,
    InvalidPathError,
    PathNotFoundError,
)
from blobread.drivers.file import FileDriver, path_of_url

linux = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux")
posix = pytest.mark.skipif(os.name == "nt", reason="only on POSIX")
links = pytest.mark.skipif(os.name == "nt", reason="only where everybody may make links")

DATA = bytes(range(256)) * 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


def read(driver: FileDriver, path: str | Path) -> bytes:
    with BlobReader(driver, os.fspath(path)) as reader:
        return reader.read()


def in_place(file: Path, data: bytes) -> None:
    """Write into the file that is there, where write_bytes() would be seen to truncate it first."""
    with file.open("r+b") as writer:
        writer.write(data)


# ---- names ---------------------------------------------------------------------------------------


def test_path_object_is_read(file: Path) -> None:
    with blobread.open(file) as reader:
        assert reader.read() == DATA


def test_relative_path_is_taken_from_the_working_directory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    with blobread.open("blob") as reader:
        assert reader.read() == DATA
    assert [info.path for info in blobread.list("bl")] == ["blob"]


NAMES = [
    "blob",
    "with a space",
    "100%",
    "%41",
    "a#b",
    "a+b",
    "größe",
    "日本",
    "a&b=c;d",
    "~",
    "{x}",
]


@pytest.mark.parametrize(
    "name", [*NAMES, *(["what?", "a\\b", "a:b", "a\nb"] if os.name != "nt" else [])]
)
def test_file_url_names_the_file_that_pathlib_means(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(name.encode())
    with blobread.open(path.as_uri()) as reader:
        assert reader.read() == name.encode()


@linux
def test_file_url_names_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    path.write_bytes(DATA)
    assert path.as_uri().endswith("/%FF%FE")
    with blobread.open(path.as_uri()) as reader:
        assert reader.read() == DATA


@posix
@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("FILE://LOCALHOST/a", "/a"),
        ("file:/a/b", "/a/b"),
        ("file:///a%20b%2Fc", "/a b/c"),
        ("file:///a?b#c", "/a?b#c"),
        ("file:///gr%C3%B6%C3%9Fe", "/größe"),
        ("file:///größe", "/größe"),
        ("file:///%25", "/%"),
        ("file:///%zz%", "/%zz%"),
    ],
)
def test_file_url_means_this_path(url: str, path: str) -> None:
    assert path_of_url(url) == path


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "C:", "..", "jo:pass-word@localhost"])
def test_file_of_another_host_is_refused(host: str) -> None:
    with pytest.raises(InvalidPathError, match="localhost") as caught:
        blobread.open(f"file://{host}/etc/hostname")
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("url", ["file://", "file://localhost", "file:///%00", "file:///a%00b"])
def test_file_url_that_names_nothing_is_an_error(url: str) -> None:
    with pytest.raises(InvalidPathError):
        blobread.open(url)


def test_path_of_bytes_is_a_type_error(file: Path) -> None:
    with pytest.raises(TypeError, match="bytes"):
        FileDriver().stat(os.fsencode(file))  # type: ignore[arg-type]


# ---- a root --------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with blobs, some links out of it, and a secret beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root-beside").mkdir()
    (tmp_path / "root-beside/secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "blob").write_bytes(b"inside")
    (root / "sub/blob").write_bytes(b"inside")
    if os.name != "nt":
        (root / "final").symlink_to(tmp_path / "secret")
        (root / "relative").symlink_to("../secret")
        (root / "middle").symlink_to(tmp_path / "outside")
        (root / "up").symlink_to("..")
        (root / "sub/deep").symlink_to("../../outside")
        (root / "beside").symlink_to("../root-beside")
        (root / "harmless").symlink_to("blob")
        (root / "loop").symlink_to("loop")
        (root / "top").symlink_to("/")
    return root


ESCAPES = [
    "../secret", "./../secret", "sub/../../secret", "sub/deep/../../../secret", "../outside/secret",
    "..", "../", "sub/..", "sub/../..", "../root/blob", "blob/..", "blob/../../secret",
    "//etc/hostname", "/", "/..", "///", "\0", "../secret\0", "blob\0", "sub\0/../secret",
    "..\\secret", "sub\\..\\..\\secret", "..;/secret", "%2e%2e/secret", "..%2fsecret",
    "%2e%2e%2fsecret", "..%c0%afsecret", "\N{FULLWIDTH FULL STOP}" * 2 + "/secret", "~/secret",
    "$HOME", "C:/secret", "C:secret", "\\\\host\\share", "file:///etc/hostname", "...", ".../x",
    "", " ", ".", "./", "sub", "sub/", "sub/.", "x" * 4096, "a/" * 2048 + "b", "../" * 1365 + "x",
    "blob/x", "\ud800", "../\udcff",
    "final", "relative", "middle/secret", "up/secret", "up/outside/secret", "sub/deep/secret",
    "middle", "middle/", "middle/.", "middle/../secret", "harmless", "loop", "loop/x",
    "top/etc/hostname", "./final", "beside/secret", "sub/../final", "final/", "final/.",
    *([] if os.name == "nt" else ["blob/", "blob/.", "blob//"]),
]  # fmt: skip


@pytest.mark.parametrize("name", [*ESCAPES, None], ids=lambda name: ascii(name)[:40])
def test_no_path_leads_out_of_the_root(root: Path, name: str | None) -> None:
    name = str(root.parent / "secret") if name is None else name
    driver = FileDriver(root)
    for call in (driver.open, driver.read_stream, lambda path: BlobReader(driver, path)):
        with pytest.raises((InvalidPathError, PathNotFoundError, BlobIsDirectoryError)):
            call(name)
    with suppress(InvalidPathError, PathNotFoundError):
        assert driver.stat(name).is_dir


@pytest.mark.parametrize("name", ESCAPES, ids=lambda name: ascii(name)[:40])
def test_no_path_leads_out_where_there_is_no_openat(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on Windows; a link that stays below the root is followed there.
    monkeypatch.setattr(os, "supports_dir_fd", frozenset())
    with suppress(InvalidPathError, PathNotFoundError, BlobIsDirectoryError):
        assert read(FileDriver(root), name) == b"inside"
    with suppress(InvalidPathError, PathNotFoundError):
        info = FileDriver(root).stat(name)
        assert info.is_dir or name in ("harmless", "blob/", "blob/.", "blob//")


@links
@pytest.mark.parametrize("name", ["final", "middle/secret", "up/secret", "harmless", "loop"])
def test_symbolic_link_below_a_root_is_called_one(root: Path, name: str) -> None:
    driver = FileDriver(root)
    for call in (driver.open, driver.stat, driver.read_stream):
        with pytest.raises(InvalidPathError, match="symbolic link"):
            call(name)


@pytest.mark.parametrize(
    "name", ["blob", "./blob", "sub/blob", "sub//blob", "sub/./blob", "././blob"]
)
def test_path_below_the_root_is_read(root: Path, name: str) -> None:
    driver = FileDriver(root)
    assert read(driver, name) == b"inside"
    assert driver.stat(name).size == 6
    with blobread.open(name, root=root) as reader:
        assert reader.read() == b"inside"


@pytest.mark.parametrize("name", [".", "./", "sub", "sub/", "sub/.", "./sub"])
def test_directory_below_the_root_is_one(root: Path, name: str) -> None:
    assert FileDriver(root).stat(name).is_dir
    with pytest.raises(BlobIsDirectoryError):
        FileDriver(root).open(name)


@links
def test_root_may_be_a_symbolic_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    assert read(FileDriver(root.parent / "link"), "sub/blob") == b"inside"


def test_root_that_is_missing_has_no_blobs(tmp_path: Path) -> None:
    driver = FileDriver(tmp_path / "missing")
    with pytest.raises(PathNotFoundError):
        driver.stat("blob")
    with pytest.raises(PathNotFoundError):
        driver.open("blob")
    assert list(driver.list()) == []


def test_root_is_not_moved_by_a_change_of_the_working_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    driver = FileDriver("root")
    monkeypatch.chdir("/")
    assert read(driver, "blob") == b"inside"


@pytest.mark.parametrize("prefix", ["../", "/", "sub/../../", "../out", "a\0/"])
def test_no_prefix_lists_what_is_out_of_the_root(root: Path, prefix: str) -> None:
    with pytest.raises(InvalidPathError):
        list(FileDriver(root).list(prefix))


@links
@pytest.mark.parametrize("prefix", ["middle/", "up/", "sub/deep/", "top/etc/"])
def test_no_link_is_listed_through(root: Path, prefix: str) -> None:
    with pytest.raises(InvalidPathError, match="symbolic link"):
        list(FileDriver(root).list(prefix))


def test_listing_of_a_root_is_that_of_its_files(root: Path) -> None:
    paths = [info.path for info in FileDriver(root).list()]
    assert paths == ["blob", os.path.join("sub", "blob")]


SWAPPER = """
import os
while True:
    os.rename("sub", "kept")
    os.symlink("../outside", "sub")
    os.unlink("sub")
    os.rename("kept", "sub")
"""


def looks(driver: FileDriver) -> set[object]:
    """What is seen of a blob whose directory is a link now and then."""
    seen: set[object] = set()
    for look in (lambda: read(driver, "sub/blob"), lambda: driver.stat("sub/blob").size):
        try:
            seen.add(look())
        except (InvalidPathError, PathNotFoundError) as error:
            seen.add(type(error))
    return seen


@links
def test_swapped_directory_never_leads_out_of_the_root(root: Path) -> None:
    (root.parent / "outside/blob").write_bytes(b"secret")
    driver = FileDriver(root)
    outcomes: set[object] = set()
    with subprocess.Popen([sys.executable, "-c", SWAPPER], cwd=root) as swapper:
        try:
            while len(outcomes) < 3:  # until the swaps have begun
                outcomes |= looks(driver)
            for _ in range(3000):
                outcomes |= looks(driver)
        finally:
            swapper.terminate()
    assert outcomes <= {b"inside", 6, InvalidPathError, PathNotFoundError}


@linux
def test_links_of_procfs_lead_nowhere(file: Path) -> None:
    driver = FileDriver("/proc/self/fd")
    with file.open("rb") as opened:
        for call in (driver.open, driver.stat):
            with pytest.raises(InvalidPathError, match="symbolic link"):
                call(str(opened.fileno()))
    with pytest.raises(InvalidPathError, match="symbolic link"):
        FileDriver("/proc/self").stat("root/etc/hostname")
    with pytest.raises(InvalidPathError, match="symbolic link"):
        FileDriver("/proc").stat("self/status")


# ---- what is no regular file ---------------------------------------------------------------------


@contextmanager
def special_files(directory: Path) -> Iterator[list[str]]:
    os.mkfifo(directory / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(directory)  # the path of a socket is at most 100 bytes long
        try:
            bound.bind("socket")
        finally:
            os.chdir(here)
        yield ["fifo", "socket"]


@posix
@pytest.mark.parametrize("rooted", [False, True])
def test_special_file_is_no_blob_and_nobody_waits_for_it(tmp_path: Path, rooted: bool) -> None:
    driver = FileDriver(tmp_path if rooted else None)
    prefix = "" if rooted else f"{tmp_path}/"
    with special_files(tmp_path) as names:
        for name in names:
            for call in (driver.open, driver.stat, driver.read_stream):
                with pytest.raises(InvalidPathError, match="no regular file"):
                    call(prefix + name)
        assert list(driver.list(prefix)) == []


@posix
@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/dev/tty"])
def test_device_is_no_blob(path: str) -> None:
    for call in (FileDriver().open, FileDriver().stat, FileDriver("/dev").stat):
        with pytest.raises(InvalidPathError):
            call(path)


def test_directory_is_not_read(tmp_path: Path) -> None:
    for path in (tmp_path, f"{tmp_path}{os.sep}", tmp_path.as_uri()):
        with pytest.raises(IsADirectoryError):
            blobread.open(path)
        assert blobread.stat(path).is_dir


def test_path_through_a_file_is_not_found(file: Path) -> None:
    for path in (f"{file}/x", f"{file}/"):
        with pytest.raises(PathNotFoundError):
            blobread.open(path)


@links
def test_link_is_followed_where_there_is_no_root(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    assert read(FileDriver(), link) == DATA
    assert FileDriver().stat(str(link)).size == len(DATA)
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(InvalidPathError, match="symbolic link"):
        FileDriver().stat(str(link))


@links
def test_link_to_a_file_is_listed_and_one_to_a_directory_is_not_followed(file: Path) -> None:
    (file.parent / "link").symlink_to(file)
    (file.parent / "loop").symlink_to(file.parent)
    (file.parent / "dangling").symlink_to("nowhere")
    found = list(FileDriver().list(f"{file.parent}/"))
    assert [os.path.basename(info.path) for info in found] == ["blob", "link"]
    assert [info.size for info in found] == [len(DATA)] * 2


def test_file_that_is_deleted_while_it_is_listed_is_left_out(file: Path) -> None:
    second = file.with_name("second")
    second.touch()
    listing = FileDriver().list(f"{file.parent}{os.sep}")
    assert next(listing).path == str(file)
    second.unlink()
    assert list(listing) == []


@linux
@pytest.mark.parametrize("rooted", [False, True])
def test_file_of_procfs_is_read_to_its_end(rooted: bool) -> None:
    driver = FileDriver("/proc") if rooted else FileDriver()
    path = "sys/kernel/ostype" if rooted else "/proc/sys/kernel/ostype"
    info = driver.stat(path)
    assert info == BlobInfo(path, None)
    for known in (None, info):
        with BlobReader(driver, path, info=known) as reader:
            assert not reader.seekable()
            assert reader.read() == b"Linux\n"
            assert reader.size == 6
    with closing(driver.read_stream(path, 2, 3)) as stream:
        assert stream.readinto(memoryview(bytearray(10))) == 3


@linux
def test_file_that_cannot_be_read_is_an_error_of_the_driver() -> None:
    with pytest.raises(BlobError, match=r"^file: ") as caught:
        FileDriver().open("/proc/self/mem")
    assert caught.value.errno == errno.EIO


@contextmanager
def commoner() -> Iterator[Path]:
    """A directory of somebody who is not the superuser, and be that one."""
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() != 0:
            yield Path(directory)
            return
        os.chown(directory, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(directory)
        finally:
            os.seteuid(0)


@posix
def test_file_that_may_not_be_read_is_access_denied() -> None:
    with commoner() as directory:
        file = directory / "blob"
        file.write_bytes(DATA)
        file.chmod(0)
        for driver, path in ((FileDriver(), str(file)), (FileDriver(directory), "blob")):
            with pytest.raises(AccessDeniedError) as caught:
                driver.open(path)
            assert isinstance(caught.value, PermissionError)
            assert driver.stat(path).size == len(DATA)
            assert [info.size for info in driver.list(path)] == [len(DATA)]


@posix
def test_directory_below_a_root_need_not_be_listed_to_be_passed() -> None:
    with commoner() as directory:
        (directory / "root/sub").mkdir(parents=True)
        (directory / "root/sub/blob").write_bytes(DATA)
        (directory / "root/sub").chmod(0o300)
        try:
            assert read(FileDriver(directory / "root"), "sub/blob") == DATA
            with pytest.raises(AccessDeniedError):
                list(FileDriver(directory / "root").list())
        finally:
            (directory / "root/sub").chmod(0o700)


# ---- files that change ---------------------------------------------------------------------------


@posix
def test_file_that_is_deleted_goes_on_being_read(file: Path) -> None:
    with blobread.open(file) as reader:
        assert reader.read(10) == DATA[:10]
        file.unlink()
        assert reader.read() == DATA[10:]


@posix
def test_file_that_is_replaced_goes_on_being_read(file: Path) -> None:
    with blobread.open(file) as reader:
        new = file.with_name("new")
        new.write_bytes(b"new" * 9000)
        new.replace(file)
        assert reader.read() == DATA


def test_file_that_grows_is_read_to_the_size_that_it_had(file: Path) -> None:
    with blobread.open(file) as reader, closing(FileDriver().read_stream(str(file))) as stream:
        with file.open("ab") as writer:
            writer.write(b"more")
        assert reader.read() == DATA
        assert (reader.size, reader.read(), reader.seek(0, 2)) == (len(DATA), b"", len(DATA))
        window = memoryview(bytearray(len(DATA) + 10))
        assert stream.readinto(window) == len(DATA)
        assert stream.readinto(window) == 0


def test_lone_read_at_the_end_of_a_file_that_has_grown_stops_at_the_size_that_it_had(
    tmp_path: Path,
) -> None:
    path = tmp_path / "grown"
    path.write_bytes(bytes(1 << 20))
    with blobread.open(path) as reader:
        with path.open("ab") as writer:
            writer.write(b"m" * 1000)
        reader.seek((1 << 20) - 10)
        assert reader.read(100) == bytes(10)


def test_file_that_shrank_is_an_error_where_it_ends(file: Path) -> None:
    with blobread.open(file) as reader:
        reader.seek(100)
        os.truncate(file, 5000)
        with pytest.raises(BlobChangedError, match="5000") as caught:
            reader.read()
        assert caught.value.errno == errno.ESTALE
        assert reader.tell() == 100
        assert reader.read_at(100, 4900) == DATA[4900:5000]
        with pytest.raises(BlobChangedError):
            reader.read_at(100, 4901)


def test_stream_of_a_file_that_shrank_does_not_end_but_fail(file: Path) -> None:
    with closing(FileDriver().read_stream(str(file), 10)) as stream:
        os.truncate(file, 5000)
        window = memoryview(bytearray(5000))
        assert stream.readinto(window) == 4990
        assert stream.readinto(window[:0]) == 0
        with pytest.raises(BlobChangedError):
            stream.readinto(window)


def test_file_that_is_replaced_before_it_is_read_is_an_error(file: Path) -> None:
    with BlobReader(FileDriver(), str(file), info=blobread.stat(file)) as reader:
        new = file.with_name("new")
        new.write_bytes(DATA)
        times = os.stat(file)
        os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
        new.replace(file)
        with pytest.raises(BlobChangedError):
            reader.read()


def test_file_that_is_rewritten_before_it_is_read_is_an_error(file: Path) -> None:
    with BlobReader(FileDriver(), str(file), info=blobread.stat(file)) as reader:
        times = os.stat(file)
        in_place(file, DATA[::-1])
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 100))
        with pytest.raises(BlobChangedError):
            reader.read()


def elsewhere(info: BlobInfo) -> BlobInfo:
    """The same file as another host sees it, where inodes have other numbers."""
    assert info.version is not None
    time, inode, host = info.version.split()
    return replace(info, version=f"{time} {inode}9 {host}-another")


def test_file_seen_from_another_host_is_known_by_size_and_time(file: Path) -> None:
    driver, info = FileDriver(), elsewhere(blobread.stat(file))
    with BlobReader(driver, str(file), info=info) as reader:
        assert reader.read() == DATA
    for size, later in ((len(DATA) + 1, 0), (len(DATA), 100)):
        os.truncate(file, size)
        times = os.stat(file)
        modified = int((info.version or "").split()[0].removeprefix("mtime:"))
        os.utime(file, ns=(times.st_atime_ns, modified + later))
        with BlobReader(driver, str(file), info=info) as reader, pytest.raises(BlobChangedError):
            reader.read()


def test_pickled_reader_is_read_in_another_process(file: Path) -> None:
    with blobread.open(file) as reader:
        reader.seek(1000)
        pickled = pickle.dumps(reader)
    program = """
import pickle, sys
with pickle.load(sys.stdin.buffer) as reader:
    sys.stdout.buffer.write(reader.read())
"""
    run = subprocess.run(
        [sys.executable, "-c", program], input=pickled, stdout=subprocess.PIPE, check=True
    )
    assert run.stdout == DATA[1000:]


# ---- streams -------------------------------------------------------------------------------------


@posix
def test_bytes_beyond_what_32_bits_count_are_those_of_their_place(tmp_path: Path) -> None:
    file, at = tmp_path / "sparse", (5 << 30) + 7
    with file.open("wb") as writer:
        writer.seek(at)
        writer.write(b"here")
    with blobread.open(file) as reader:
        assert reader.size == at + 4
        reader.seek(at - 2)
        assert reader.read() == b"\0\0here"
        assert reader.read_at(4, at) == b"here"
    with closing(FileDriver().read_stream(str(file), at - 1, 3)) as stream:
        window = bytearray(10)
        assert stream.readinto(memoryview(window)) == 3
        assert window == b"\0he" + bytes(7)


def test_stream_that_is_forgotten_warns_and_closes_its_file(file: Path) -> None:
    stream = FileDriver().read_stream(str(file))
    with pytest.warns(ResourceWarning, match="unclosed <FileStream"):
        del stream


def test_failed_open_leaves_nothing_open(file: Path, tmp_path: Path) -> None:
    # That is what the fixture nothing_is_left_open looks for.
    other = replace(blobread.stat(file), size=1)
    for _ in range(3):
        with pytest.raises(BlobChangedError):
            FileDriver().read_stream(str(file), pin=other)
        with pytest.raises(BlobIsDirectoryError):
            FileDriver().open(str(tmp_path))
        with pytest.raises(PathNotFoundError):
            FileDriver(tmp_path).open("blob/x")
