"""The tests that any driver must pass, for authors of drivers to run over their own."""

import io
import os
import pickle
import random
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, ClassVar, Protocol

import pytest

from ._reader import BlobReader
from .driver import BlobInfo, RawStream, StorageDriver
from .errors import (
    BlobChangedError,
    BlobError,
    BlobIsDirectoryError,
    InvalidOffsetError,
    InvalidPathError,
    PathNotFoundError,
)

__all__ = ["BlobStore", "DriverSuite"]

# On both sides of what buffers, pages, pipes and first requests are made of.
SIZES = (0, 1, 2, 4095, 4096, 4097, 65536, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, (1 << 20) + 13)

NAMES = (
    "a", "2", "aa", "a.a", "0-9/abcdefg", "abcdefg/z.75", "abc/1.2.3.4.5-6_zyx/123.z/4",
    "docker/docker-registry", "123.abc", "abc./abc", ".abc", "a--b", "a-.b", "_.abc",
    "Docker/docker-registry", "Abc/Cba", "with a space", "a+b&c=d;e", "100%", "%41", "#1",
    "it's", "(1)", "ß", "größe/日本語", "🦀", "x" * 200,
)  # fmt: skip

CONTENTS = (
    b"a", b"\xc3\x9f", b"\x80\x80\x80\x80", b"\0", b"\0" * 5000, b"\r\n\r\n", b"0\r\n\r\n",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", b"<html>", bytes(range(256)),
)  # fmt: skip


class BlobStore(Protocol):
    """The other side of the store that a driver under test reads.

    It may also have ``make_directory(name)``, in a store that has directories.
    """

    def path(self, name: str) -> str:
        """Give the path by which the driver knows the blob `name`, be it there or not."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store a blob, in the place of one that is there."""
        ...

    def delete(self, name: str) -> None:
        """Remove a blob."""
        ...


class DriverSuite:
    """Tests of all that readers count on in a driver.

    A subclass gives two fixtures, and tells what its store is like:

    ``store``
        A `BlobStore`. It is empty, or has none of the names that are used here.
    ``driver``
        A `StorageDriver` of that store.

    Attributes
    ----------
    names : tuple of str
        Names that a blob of this store can have.
    invalid_paths : tuple of str
        Paths that can name no blob of this driver.
    tells_versions : bool
        Whether a blob that is replaced by one of the same size is another version.
    replaces_while_read : bool
        Whether a blob can be replaced while a stream of it is open (Windows locks open files).
    secrets : tuple of str
        Texts in the path, or in the driver, that must be printed nowhere. A driver that has some
        does not pickle.

    Notes
    -----
    For the plain assertions of this module to say what they compared, call
    ``pytest.register_assert_rewrite("blobread.testing")`` before it is imported.

    Examples
    --------
    ::

        import pytest
        from blobread.testing import DriverSuite

        class Bucket:
            def path(self, name): return f"bucket/{name}"
            def put(self, name, data): ...
            def delete(self, name): ...

        class TestBucketDriver(DriverSuite):
            invalid_paths = ("", "/")

            @pytest.fixture
            def store(self):
                return Bucket()

            @pytest.fixture
            def driver(self, store):
                return BucketDriver()
    """

    names: ClassVar[tuple[str, ...]] = NAMES
    invalid_paths: ClassVar[tuple[str, ...]] = ("",)
    tells_versions: ClassVar[bool] = True
    replaces_while_read: ClassVar[bool] = True
    secrets: ClassVar[tuple[str, ...]] = ()

    # ---- bytes -------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", SIZES)
    def test_stream_gives_every_byte(
        self, driver: StorageDriver, store: BlobStore, size: int
    ) -> None:
        path, data = put(store, "blob", size)
        assert drain(driver.read_stream(path)) == data

    @pytest.mark.parametrize("size", SIZES)
    def test_reader_gives_every_byte(
        self, driver: StorageDriver, store: BlobStore, size: int
    ) -> None:
        path, data = put(store, "blob", size)
        with BlobReader(driver, path) as reader:
            pieces = [reader.read(n) for n in (1, 10_000, 1 << 18, -1)]
            assert b"".join(pieces) == data
            assert (reader.read(), reader.tell(), reader.size) == (b"", size, size)

    @pytest.mark.parametrize("data", CONTENTS)
    def test_bytes_are_not_interpreted(
        self, driver: StorageDriver, store: BlobStore, data: bytes
    ) -> None:
        store.put("blob", data)
        assert drain(driver.read_stream(store.path("blob"))) == data

    def test_names_of_every_kind_are_found(self, driver: StorageDriver, store: BlobStore) -> None:
        for name in self.names:
            store.put(name, name.encode())
        for name in self.names:
            info = driver.stat(store.path(name))
            assert info.size == len(name.encode())
            assert drain(driver.read_stream(store.path(name))) == name.encode()

    def test_reader_agrees_with_bytesio_on_random_programs(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 300_000)
        chance = random.Random(1)
        model = io.BytesIO(data)
        with BlobReader(driver, path, buffer_size=40_000) as reader:
            for _ in range(150):
                match chance.randrange(4):
                    case 0:
                        target = chance.choice((chance.randrange(310_000), model.tell() + 100))
                        assert reader.seek(target) == model.seek(target)
                    case 1:
                        assert reader.readline() == model.readline()
                    case _:
                        size = chance.choice((0, 1, 100, 5000, 70_000))
                        assert reader.read(size) == model.read(size)
                assert reader.tell() == model.tell()

    def test_blocks_in_any_order_are_those_of_their_place(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        pattern = b"thirteen byte"
        store.put("blob", pattern * 64)
        order = random.Random(2).sample(range(64), 64)
        with BlobReader(driver, store.path("blob")) as reader:
            for number in order:
                assert reader.seek(number * 13) == number * 13
                assert reader.read(13) == pattern

    # ---- offset and length -------------------------------------------------------------------

    @pytest.mark.parametrize("offset", [0, 1, 32, 64, 95, 96, 97])
    @pytest.mark.parametrize("length", [None, 0, 1, 31, 32, 33, 96, 1000])
    def test_stream_gives_the_bytes_between_its_offsets(
        self, driver: StorageDriver, store: BlobStore, offset: int, length: int | None
    ) -> None:
        path, data = put(store, "blob", 96)
        stop = None if length is None else offset + length
        for pin in (None, driver.stat(path)):
            stream = driver.read_stream(path, offset, length, pin=pin)
            assert drain(stream) == data[offset:stop]

    @pytest.mark.parametrize("beyond", [0, 1, 1 << 20, 1 << 40, (1 << 63) - 101])
    def test_offset_at_or_beyond_the_size_ends_at_once(
        self, driver: StorageDriver, store: BlobStore, beyond: int
    ) -> None:
        path, _ = put(store, "blob", 100)
        for pin in (None, driver.stat(path)):
            for length in (None, 10):
                assert drain(driver.read_stream(path, 100 + beyond, length, pin=pin)) == b""

    def test_last_byte_is_followed_by_the_end_and_nothing_else(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 5000)
        with closing(driver.read_stream(path, 4999)) as stream:
            window = bytearray(10)
            assert stream.readinto(memoryview(window)) == 1
            assert window[:1] == data[-1:]
            assert [stream.readinto(memoryview(window)) for _ in range(3)] == [0, 0, 0]

    @pytest.mark.parametrize("offset", [-1, -(1 << 63)])
    def test_negative_offset_is_an_error_before_the_path_is_looked_at(
        self, driver: StorageDriver, store: BlobStore, offset: int
    ) -> None:
        path, _ = put(store, "blob", 100)
        for asked in (path, store.path("missing"), *self.invalid_paths):
            with pytest.raises(InvalidOffsetError) as caught:
                driver.read_stream(asked, offset)
            assert isinstance(caught.value, ValueError)
            assert str(offset) in str(caught.value)

    def test_negative_length_is_an_error(self, driver: StorageDriver, store: BlobStore) -> None:
        path, _ = put(store, "blob", 100)
        with pytest.raises(ValueError, match="-1"):
            driver.read_stream(path, 0, -1)

    # ---- streams -----------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 4096, 65536, 99_999, 100_000, 200_000])
    def test_window_of_any_size_is_filled_and_nothing_beside_it(
        self, driver: StorageDriver, store: BlobStore, size: int
    ) -> None:
        path, data = put(store, "blob", 100_000)
        offset = 0 if size >= 64 else 99_000
        with closing(driver.read_stream(path, offset)) as stream:
            assert b"".join(in_windows(stream, size)) == data[offset:]

    def test_streams_of_one_blob_are_independent(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 200_000)
        with ExitStack() as stack:
            first = stack.enter_context(closing(driver.read_stream(path)))
            second = stack.enter_context(closing(driver.read_stream(path, 100_000)))
            third = driver.read_stream(path, 50)
            got = [take(first, 1000), take(second, 1000), take(third, 1000)]
            third.close()
            got += [take(first, 1000), take(second, 1000)]
        assert got[0] + got[3] == data[:2000]
        assert got[1] + got[4] == data[100_000:102_000]
        assert got[2] == data[50:1050]

    def test_closing_twice_is_nothing_more(self, driver: StorageDriver, store: BlobStore) -> None:
        path, _ = put(store, "blob", 200_000)
        for wanted in (0, 10, 200_000):
            stream = driver.read_stream(path)
            take(stream, wanted)
            stream.close()
            stream.close()

    def test_closed_stream_gives_no_byte(self, driver: StorageDriver, store: BlobStore) -> None:
        path, _ = put(store, "blob", 200_000)
        stream = driver.read_stream(path)
        take(stream, 10)
        stream.close()
        window = bytearray(10)
        with suppress(OSError, ValueError):
            assert stream.readinto(memoryview(window)) == 0
        assert window == bytes(10)

    def test_close_from_another_thread_ends_the_reading(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 1 << 20)
        other, _ = put(store, "other", 1 << 20, seed=1)
        stream = driver.read_stream(path)
        got, begun = bytearray(), threading.Event()

        def read() -> None:
            window = bytearray(512)
            try:
                while count := stream.readinto(memoryview(window)):
                    got.extend(window[:count])
                    begun.set()
            except (OSError, ValueError):
                pass  # what a closed stream says is its own matter
            finally:
                begun.set()

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(read)
            begun.wait()
            stream.close()
            # What the stream held may now be held by others: their bytes must not come to it.
            for _ in range(10):
                drain(driver.read_stream(other, (1 << 20) - 100))
            ended.result()
        assert data.startswith(got)

    def test_threads_read_one_blob_at_random_offsets(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 1 << 20)

        def read(seed: int) -> bool:
            offset = random.Random(seed).randrange(len(data))
            return drain(driver.read_stream(path, offset)) == data[offset:]

        with ThreadPoolExecutor(10) as pool:
            assert all(pool.map(read, range(30)))

    def test_many_streams_are_open_at_once(self, driver: StorageDriver, store: BlobStore) -> None:
        blobs = [put(store, f"blob-{n}", 20_000, seed=n) for n in range(32)]
        with ExitStack() as stack:
            streams = [stack.enter_context(closing(driver.read_stream(path))) for path, _ in blobs]
            got = [b""] * len(streams)
            for _ in range(4):
                got = [had + take(s, 5000) for had, s in zip(got, streams, strict=True)]
        assert got == [data for _, data in blobs]

    # ---- what the store says -----------------------------------------------------------------

    def test_stat_tells_of_the_blob(self, driver: StorageDriver, store: BlobStore) -> None:
        path, data = put(store, "blob", 12_345)
        info = driver.stat(path)
        assert (info.size, info.is_dir) == (12_345, False)
        assert info.path == path or self.secrets
        assert info.modified is None or info.modified.utcoffset() == timedelta(0)
        if info.digest is not None and info.digest.startswith("sha256:"):
            assert info.digest == f"sha256:{sha256(data).hexdigest()}"

    def test_stat_says_the_same_twice(self, driver: StorageDriver, store: BlobStore) -> None:
        path, _ = put(store, "blob", 12_345)
        assert driver.stat(path) == driver.stat(path)

    def test_open_tells_what_stat_tells_and_gives_the_first_bytes(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        opener = self.optional(driver, "open")
        for size in SIZES:
            path, data = put(store, f"blob-{size}", size)
            info, stream = opener(path)
            assert info == driver.stat(path)
            first = drain(stream)
            assert data.startswith(first)
            assert first or not data

    def test_list_tells_of_what_starts_with_a_prefix(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        lister = self.optional(driver, "list")
        for name in ("list/one", "list/two/three", "listed", "other"):
            put(store, name, 10)
        for prefix, wanted in (
            ("list", ["list/one", "list/two/three", "listed"]),
            ("list/", ["list/one", "list/two/three"]),
            ("list/t", ["list/two/three"]),
            ("list/two/three", ["list/two/three"]),
            ("nothing/there", []),
        ):
            infos = [driver.stat(store.path(name)) for name in wanted]
            found = lister(store.path(prefix))
            assert sorted(found, key=lambda info: info.path) == infos

    def test_deleted_blob_is_not_listed(self, driver: StorageDriver, store: BlobStore) -> None:
        lister = self.optional(driver, "list")
        path, _ = put(store, "list/here", 10)
        put(store, "list/gone", 10)
        store.delete("list/gone")
        assert [info.path for info in lister(store.path("list/"))] == [path]

    def test_directory_has_no_bytes(self, driver: StorageDriver, store: BlobStore) -> None:
        if not hasattr(store, "make_directory"):
            pytest.skip("only for stores that have directories")
        store.make_directory("directory")
        path = store.path("directory")
        info = driver.stat(path)
        assert (info.path, info.size, info.is_dir) == (path, 0, True)
        with pytest.raises(BlobIsDirectoryError) as caught:
            drain(driver.read_stream(path))
        assert isinstance(caught.value, IsADirectoryError)
        with pytest.raises(BlobIsDirectoryError):
            BlobReader(driver, path)

    # ---- what is not there -------------------------------------------------------------------

    @pytest.mark.parametrize("offset", [0, 64, 1 << 40])
    def test_missing_path_is_an_error_at_any_offset(
        self, driver: StorageDriver, store: BlobStore, offset: int
    ) -> None:
        for length in (None, 10):
            with pytest.raises(PathNotFoundError) as caught:
                drain(driver.read_stream(store.path("missing"), offset, length))
            assert isinstance(caught.value, FileNotFoundError)

    def test_missing_path_has_no_info(self, driver: StorageDriver, store: BlobStore) -> None:
        for name in ("missing", "missing/too"):
            with pytest.raises(PathNotFoundError):
                driver.stat(store.path(name))
            with pytest.raises(PathNotFoundError):
                BlobReader(driver, store.path(name))

    def test_blob_that_comes_late_is_found(self, driver: StorageDriver, store: BlobStore) -> None:
        with pytest.raises(PathNotFoundError):
            driver.stat(store.path("late"))
        path, data = put(store, "late", 1000)
        assert driver.stat(path).size == 1000
        assert drain(driver.read_stream(path)) == data

    def test_deleted_blob_is_missing_and_its_neighbours_are_not(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        names = ("x", "xsuffix", "other/x")
        blobs = {name: put(store, name, 100, seed=len(name)) for name in names}
        store.delete("x")
        for name in ("xsuffix", "other/x"):
            path, data = blobs[name]
            assert drain(driver.read_stream(path)) == data
        with pytest.raises(PathNotFoundError):
            driver.stat(store.path("x"))
        with pytest.raises(PathNotFoundError):
            drain(driver.read_stream(store.path("x")))

    def test_invalid_path_is_an_error(self, driver: StorageDriver, store: BlobStore) -> None:
        for path in self.invalid_paths:
            calls: list[Callable[[str], Any]] = [driver.stat, driver.read_stream]
            for call in (*calls, *([driver.open] if hasattr(driver, "open") else [])):
                with pytest.raises(InvalidPathError) as caught:
                    call(path)
                assert isinstance(caught.value, ValueError)

    # ---- versions ----------------------------------------------------------------------------

    @pytest.mark.parametrize("sizes", [(1 << 20, 1 << 10), (4096, 2048), (0, 10), (10, 0)])
    def test_of_a_replaced_blob_only_the_new_bytes_are_left(
        self, driver: StorageDriver, store: BlobStore, sizes: tuple[int, int]
    ) -> None:
        put(store, "blob", sizes[0])
        path, data = put(store, "blob", sizes[1], seed=1)
        assert driver.stat(path).size == sizes[1]
        assert drain(driver.read_stream(path)) == data

    def test_bytes_that_stat_counts_can_be_read_now(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        data = b""
        for n in range(20):
            data += bytes([n]) * 32
            store.put("blob", data)
            size = driver.stat(store.path("blob")).size
            assert (size, drain(driver.read_stream(store.path("blob")))) == (len(data), data)

    def test_pin_of_the_present_version_changes_nothing(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 300_000)
        info = driver.stat(path)
        for offset in (0, 1, 150_000, 299_999, 300_000):
            assert drain(driver.read_stream(path, offset, pin=info)) == data[offset:]
            assert drain(driver.read_stream(path, offset, 10, pin=info)) == data[offset:][:10]

    @pytest.mark.parametrize("size", [99, 101, 0])
    def test_pin_sees_that_the_size_has_changed(
        self, driver: StorageDriver, store: BlobStore, size: int
    ) -> None:
        path, _ = put(store, "blob", 100)
        info = driver.stat(path)
        put(store, "blob", size, seed=1)
        for offset in (0, 50):
            assert_changed(driver, path, offset, info)

    def test_pin_sees_another_version_of_the_same_size(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        if not self.tells_versions:
            pytest.skip("only for stores that tell versions of one size apart")
        path, data = put(store, "blob", 100)
        info = driver.stat(path)
        _, newer = put(store, "blob", 100, seed=1)
        assert driver.stat(path).version != info.version
        for offset in (0, 50):
            assert_changed(driver, path, offset, info)
        assert drain(driver.read_stream(path, pin=driver.stat(path))) == newer != data

    def test_pin_of_a_blob_that_is_gone_does_not_find_it(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, _ = put(store, "blob", 100)
        info = driver.stat(path)
        store.delete("blob")
        for offset in (0, 50):
            with pytest.raises(PathNotFoundError):
                drain(driver.read_stream(path, offset, pin=info))

    def test_pin_made_by_hand_pins_the_size_alone(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 100)
        for offset in (0, 50, 100):
            assert drain(driver.read_stream(path, offset, pin=BlobInfo(path, 100))) == data[offset:]
        for size in (99, 101, 1000):
            for offset in (0, 50):
                assert_changed(driver, path, offset, BlobInfo(path, size))

    def test_pin_made_by_hand_with_a_foreign_etag_fits_nothing(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, _ = put(store, "blob", 100)
        assert_changed(driver, path, 0, BlobInfo(path, 100, etag='"of another"'))

    def test_pin_with_a_foreign_version_fits_nothing(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, _ = put(store, "blob", 100)
        info = driver.stat(path)
        for version in ("", "of another"):
            assert_changed(driver, path, 0, replace(info, version=version, etag=None))

    def test_reader_of_a_replaced_blob_never_mixes_versions(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        if not self.replaces_while_read:
            pytest.skip("only for stores that do not lock what is read")
        path, data = put(store, "blob", 1 << 20)
        with BlobReader(driver, path, info=driver.stat(path), buffer_size=4096) as reader:
            assert reader.read(1000) == data[:1000]
            put(store, "blob", (1 << 20) - 1, seed=1)
            try:
                rest = reader.read()
            except BlobChangedError:
                assert reader.tell() == 1000
            else:
                # The stream that is open may hold on to the version that it began with.
                assert rest == data[1000:]

    # ---- processes ---------------------------------------------------------------------------

    def test_pickled_driver_reads_the_same(self, driver: StorageDriver, store: BlobStore) -> None:
        path, data = put(store, "blob", 1000)
        info = driver.stat(path)
        if self.secrets:
            with pytest.raises(TypeError, match="pickle"):
                pickle.dumps(driver)
            return
        again = pickle.loads(pickle.dumps(driver))
        assert again.name == driver.name
        assert again.stat(path) == info
        assert drain(again.read_stream(path, 10, pin=info)) == data[10:]

    def test_pickled_reader_goes_on_at_its_position(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        if self.secrets:
            pytest.skip("only for drivers without secrets: theirs do not pickle")
        path, data = put(store, "blob", 300_000)
        with BlobReader(driver, path) as reader:
            reader.read(1000)
            pickled = pickle.dumps(reader)
        assert len(pickled) < 1024 + len(pickle.dumps(driver))
        with pickle.loads(pickled) as reader:
            assert reader.tell() == 1000
            assert reader.read() == data[1000:]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
    def test_forked_child_opens_its_own_streams_and_disturbs_none(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 1 << 20)
        with closing(driver.read_stream(path)) as stream:
            first = take(stream, 1000)

            def child() -> None:
                assert drain(driver.read_stream(path, 500)) == data[500:]
                stream.close()
                assert drain(driver.read_stream(path)) == data

            in_child(child)
            assert first + drain(stream) == data

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
    def test_reader_goes_on_in_parent_and_child(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        path, data = put(store, "blob", 1 << 20)
        with BlobReader(driver, path) as reader:
            assert reader.read(1000) == data[:1000]

            def child() -> None:
                with reader:
                    assert reader.read() == data[1000:]

            in_child(child)
            assert reader.read() == data[1000:]

    # ---- errors ------------------------------------------------------------------------------

    def test_errors_name_the_driver(self, driver: StorageDriver, store: BlobStore) -> None:
        for error in self.errors(driver, store):
            assert error.driver == driver.name
            assert driver.name in str(error)

    def test_errors_pickle_and_are_made_again_from_their_message(
        self, driver: StorageDriver, store: BlobStore
    ) -> None:
        for error in self.errors(driver, store):
            again = pickle.loads(pickle.dumps(error))
            assert type(again) is type(error)
            assert str(again) == str(error) == str(type(error)(str(error)))
            assert (again.driver, again.path) == (error.driver, error.path)
            assert again.errno == error.errno is not None

    def test_no_secret_is_printed(self, driver: StorageDriver, store: BlobStore) -> None:
        if not self.secrets:
            pytest.skip("only for stores with secrets")
        path, _ = put(store, "blob", 100)
        printed = [repr(driver), str(driver), repr(driver.stat(path))]
        for known in (None, BlobInfo(path, 100)):
            with BlobReader(driver, path, info=known) as reader:
                reader.read(10)
                printed += [repr(reader), reader.name]
        for error in self.errors(driver, store):
            printed += [repr(error), *traceback.format_exception(error)]
        for secret in self.secrets:
            assert not [text for text in printed if secret in text]

    # ---- what the tests are made of ----------------------------------------------------------

    def optional(self, driver: StorageDriver, method: str) -> Callable[..., Any]:
        """A method that a driver may have; without it the test is skipped."""
        if not hasattr(driver, method):
            pytest.skip(f"only for drivers that {method}")
        found: Callable[..., Any] = getattr(driver, method)
        return found

    def errors(self, driver: StorageDriver, store: BlobStore) -> Iterator[BlobError]:
        """One error of each kind that can be had from any driver."""
        path, _ = put(store, "blob", 100)
        other = BlobInfo(path, 99)
        calls: list[Callable[[], Any]] = [
            lambda: driver.stat(store.path("missing")),
            lambda: drain(driver.read_stream(store.path("missing"))),
            lambda: driver.read_stream(path, -1),
            lambda: drain(driver.read_stream(path, pin=other)),
        ]
        for invalid in self.invalid_paths:
            calls.append(lambda invalid=invalid: driver.stat(invalid))  # type: ignore[misc]
        for call in calls:
            with pytest.raises(BlobError) as caught:
                call()
            yield caught.value


def put(store: BlobStore, name: str, size: int, seed: int = 0) -> tuple[str, bytes]:
    """Store a blob of `size` random bytes; give its path and them."""
    data = random.Random(seed).randbytes(size)
    store.put(name, data)
    return store.path(name), data


def in_windows(stream: RawStream, size: int) -> Iterator[bytes]:
    """Read a stream to its end through windows of `size` bytes.

    No length that it tells is believed, and nothing may be written beside the window.
    """
    memory = bytearray(b"\xa5" * (size + 16))
    while True:
        window = memoryview(memory)[8 : 8 + size]
        count = stream.readinto(window)
        window.release()
        assert 0 <= count <= size
        assert memory[:8] == memory[-8:] == b"\xa5" * 8
        if count == 0:
            return
        yield bytes(memory[8 : 8 + count])


def drain(stream: RawStream) -> bytes:
    """Read a stream to its end, and close it."""
    with closing(stream):
        return b"".join(in_windows(stream, 1 << 16))


def take(stream: RawStream, size: int) -> bytes:
    """Read exactly `size` bytes."""
    memory = bytearray(size)
    done = 0
    while done < size:
        window = memoryview(memory)[done:]
        count = stream.readinto(window)
        window.release()
        assert 0 < count <= size - done
        done += count
    return bytes(memory)


def assert_changed(driver: StorageDriver, path: str, offset: int, pin: BlobInfo) -> None:
    with pytest.raises(BlobChangedError):
        drain(driver.read_stream(path, offset, pin=pin))


def in_child(check: Callable[[], None]) -> None:
    """Run `check` in a forked child, and fail if it failed there."""
    with warnings.catch_warnings():
        # Python warns of a fork beside threads: a driver that has some must bear it.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
