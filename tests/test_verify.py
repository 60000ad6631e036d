"""verify=: what was read is what the digest stands for, or an exception comes in time."""

import hashlib
import io
import pickle
import random
from dataclasses import replace
from pathlib import Path

import pytest

import blobread
from blobread.driver import BlobInfo
from blobread.drivers.memory import MemoryDriver, MemoryStream
from blobread.verify import VerifyingDriver

DATA = random.Random(5).randbytes(300_000)
RIGHT = "sha256:" + hashlib.sha256(DATA).hexdigest()
WRONG = "sha256:" + hashlib.sha256(b"else").hexdigest()


class DigestDriver(MemoryDriver):
    """A store that knows digests."""

    digest: str | None = RIGHT

    def stat(self, path: str, /) -> BlobInfo:
        return replace(super().stat(path), digest=self.digest)


def reader(verify: bool | str, driver: MemoryDriver | None = None) -> blobread.BlobReader:
    driver = driver or MemoryDriver({"blob": DATA})
    return blobread.BlobReader(VerifyingDriver(driver, verify), "blob")


def test_a_blob_read_in_order_is_verified_by_the_read_that_brings_its_last_byte() -> None:
    with reader(RIGHT) as f:
        while f.tell() < len(DATA) - 100_000:
            assert f.read(10_000)
        assert not f.verified
        f.read()
        assert f.verified


@pytest.mark.parametrize("step", [1000, 65_536, 300_000, 400_000])
def test_a_wrong_digest_raises_before_the_last_byte_is_handed_out(step: int) -> None:
    got = b""
    with reader(WRONG) as f, pytest.raises(blobread.DigestMismatchError):
        while part := f.read(step):
            got += part
    assert len(got) < len(DATA)


def test_a_wrong_digest_stays_an_error() -> None:
    with reader(WRONG) as f:
        for _ in range(2):
            with pytest.raises(blobread.DigestMismatchError):
                f.read()
        f.seek(0)
        with pytest.raises(blobread.DigestMismatchError):
            f.read(10)


def test_a_part_that_was_skipped_leaves_the_blob_unverified() -> None:
    with reader(RIGHT) as f:
        f.read(10)
        f.seek(290_000)
        assert f.read() == DATA[290_000:]
        assert not f.verified


def test_the_digest_that_the_store_knows_is_checked_on_true() -> None:
    with reader(True, DigestDriver({"blob": DATA})) as f:
        assert f.read() == DATA
        assert f.verified


def test_without_a_digest_true_proves_nothing() -> None:
    with reader(True) as f:
        assert f.read() == DATA
        assert not f.verified


def test_full_hands_out_no_byte_of_a_wrong_blob() -> None:
    driver = DigestDriver({"blob": DATA[:-1] + b"?"})
    with reader("full", driver) as f, pytest.raises(blobread.DigestMismatchError):
        f.read(1)


def test_full_reads_at_random_once_all_is_found_right() -> None:
    with reader("full", DigestDriver({"blob": DATA})) as f:
        assert f.read_at(10, 299_995) == DATA[-5:]
        assert f.verified


def test_full_without_a_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="digest"):
        reader("full")


@pytest.mark.parametrize(
    "digest", ["sha256:", "sha256", "md17:00", "sha256:" + "0" * 63, RIGHT.upper(), "yes"]
)
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        VerifyingDriver(MemoryDriver(), digest)


def test_an_empty_blob_is_verified_at_once() -> None:
    empty = "sha256:" + hashlib.sha256().hexdigest()
    with reader(empty, MemoryDriver({"blob": b""})) as f:
        assert f.verified
    with pytest.raises(blobread.DigestMismatchError):
        reader(RIGHT, MemoryDriver({"blob": b""}))


def test_a_blob_of_unknown_size_is_verified_at_its_end() -> None:
    class Unsized(MemoryDriver):
        def stat(self, path: str, /) -> BlobInfo:
            return replace(super().stat(path), size=None)

    with reader(RIGHT, Unsized({"blob": DATA})) as f:
        assert f.read() == DATA
        assert f.verified


def test_a_pickled_reader_has_proved_nothing_yet() -> None:
    with reader(RIGHT) as f:
        f.read()
        with pickle.loads(pickle.dumps(f)) as g:
            assert not g.verified
            g.seek(0)
            g.read()
            assert g.verified


def test_open_verifies_a_file(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    with blobread.open(path, verify=RIGHT) as f:
        assert io.TextIOWrapper(f, "latin-1", newline="").read() == DATA.decode("latin-1")
    with blobread.open(path, verify=RIGHT) as f:
        assert f.read() == DATA
        assert f.verified
        assert f.name == str(path)


class Liar(MemoryStream):
    """A stream that says one byte more than it gave."""

    def readinto(self, buffer: memoryview, /) -> int:
        return super().readinto(buffer) + 1


class LiarsDriver(MemoryDriver):
    """A store of lying streams."""

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> Liar:
        return Liar(DATA, offset, len(DATA))


def test_a_stream_that_lies_about_its_length_is_refused_as_ever() -> None:
    driver = LiarsDriver({"blob": DATA})
    with reader(RIGHT, driver) as f, pytest.raises(blobread.ProtocolError):
        f.read(100)


@pytest.mark.parametrize("said", [None, "5"])
def test_a_stream_that_gives_no_length_is_refused_as_ever(said: object) -> None:
    class Speechless(LiarsDriver):
        def read_stream(
            self,
            path: str,
            offset: int = 0,
            length: int | None = None,
            *,
            pin: BlobInfo | None = None,
        ) -> Liar:
            stream = Liar(DATA, offset, len(DATA))
            stream.readinto = lambda buffer: said  # type: ignore[method-assign, assignment, return-value]
            return stream

    driver = Speechless({"blob": DATA})
    with reader(RIGHT, driver) as f, pytest.raises(blobread.ProtocolError):
        f.read(100)


def test_a_size_without_a_version_is_pinned_by_the_first_answer() -> None:
    driver = MemoryDriver({"blob": DATA})
    verifying = VerifyingDriver(driver, RIGHT)
    info = BlobInfo("blob", len(DATA))
    with blobread.BlobReader(verifying, "blob", info=info, buffer_size=4096) as f:
        f.read(100)
        driver.put("blob", bytes(len(DATA)))
        with pytest.raises(blobread.BlobChangedError):
            f.read()


def test_a_stream_that_may_be_late_is_not_given_the_memory_of_the_caller() -> None:
    seen: list[memoryview] = []

    class Late(MemoryStream):
        interruptible = False

        def readinto(self, buffer: memoryview, /) -> int:
            seen.append(buffer[:0])
            return super().readinto(buffer)

    class LateDriver(MemoryDriver):
        def read_stream(
            self,
            path: str,
            offset: int = 0,
            length: int | None = None,
            *,
            pin: BlobInfo | None = None,
        ) -> Late:
            stop = len(DATA) if length is None else offset + length
            return Late(DATA, offset, stop)

    target = bytearray(len(DATA))
    with reader(RIGHT, LateDriver({"blob": DATA})) as f:
        assert f.readinto(target) == len(DATA)
        assert f.verified
    assert seen
    target.append(0)  # no view of it was kept: the stream was given other memory
