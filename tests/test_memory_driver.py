"""What is particular to blobs in memory."""

import pickle
from contextlib import closing

import pytest

import blobread
from blobread import BlobReader, PathNotFoundError
from blobread.drivers.memory import MemoryDriver, shared


def test_blobs_are_given_at_creation() -> None:
    driver = MemoryDriver({"a": b"one", "b": b"two"})
    with BlobReader(driver, "b") as reader:
        assert reader.read() == b"two"


def test_blob_is_a_copy_of_what_was_put() -> None:
    driver, data = MemoryDriver(), bytearray(b"before")
    driver.put("a", data)
    data[:] = b"after!"
    with BlobReader(driver, "a") as reader:
        assert reader.read() == b"before"


@pytest.mark.parametrize("data", ["text", 5, None])
def test_only_bytes_are_put(data: object) -> None:
    driver = MemoryDriver()
    with pytest.raises(TypeError):
        driver.put("a", data)  # type: ignore[arg-type]
    assert list(driver.list()) == []


def test_stream_goes_on_with_the_version_that_it_was_opened_on() -> None:
    driver = MemoryDriver({"a": b"before"})
    with closing(driver.read_stream("a")) as stream:
        driver.put("a", b"after!")
        window = bytearray(6)
        assert stream.readinto(memoryview(window)) == 6
        assert window == b"before"


def test_every_put_is_a_version_of_its_own() -> None:
    driver = MemoryDriver()
    versions = set()
    for _ in range(3):
        driver.put("a", b"same")
        versions.add(driver.stat("a").version)
    assert len(versions) == 3


def test_blob_that_was_deleted_and_put_again_is_another_version() -> None:
    driver = MemoryDriver({"a": b"same"})
    before = driver.stat("a")
    driver.delete("a")
    driver.put("a", b"same")
    assert driver.stat("a").version != before.version


def test_deleting_what_is_not_there_is_an_error() -> None:
    with pytest.raises(PathNotFoundError):
        MemoryDriver().delete("a")


def test_driver_pickles_with_its_blobs() -> None:
    driver = MemoryDriver({"a": b"one"})
    again = pickle.loads(pickle.dumps(driver))
    driver.put("a", b"two")
    again.put("b", b"three")
    with BlobReader(again, "a") as reader:
        assert reader.read() == b"one"
    with pytest.raises(PathNotFoundError):
        driver.stat("b")


def test_urls_of_memory_are_of_one_store_of_the_process() -> None:
    shared.put("some/blob", b"data")
    try:
        with blobread.open("memory://some/blob") as reader:
            assert reader.read() == b"data"
        assert blobread.stat("MEMORY://some/blob").size == 4
        assert [info.path for info in blobread.list("memory://some/")] == ["some/blob"]
    finally:
        shared.delete("some/blob")


def test_path_that_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="bytes"):
        MemoryDriver().stat(b"a")  # type: ignore[arg-type]
