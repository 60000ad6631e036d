"""Which version of a blob is read, and what its change does in each mode of pin=."""

import threading
import warnings
from dataclasses import replace

import pytest
from misbehaving import Stream, at_most
from resuming import QUICK, LazyBlob, VersionedBlob, breaking, read_to_end, source_of
from together import PATIENCE, together

from blobread import BlobChangedError, BlobError, BlobInfo, RetriesExhaustedError
from blobread.transfer.link import Link
from blobread.transfer.resume import ResumingStream
from blobread.transfer.retry import Retry
from blobread.transfer.source import PinMode, Source

OLD, NEW, LONGER = b"old " * 25, b"new " * 25, b"new " * 26


class LazyVersionedBlob(VersionedBlob, LazyBlob):
    """Both: its streams ask for the version when they are first read."""

    def __init__(self, data: bytes, *, tells: bool = True) -> None:
        super().__init__(data, tells=tells)
        self.gate = None
        self.parts = []


@pytest.fixture(params=[VersionedBlob, LazyVersionedBlob], ids=["eager", "lazy"])
def driver(request: pytest.FixtureRequest) -> VersionedBlob:
    made: VersionedBlob = request.param(OLD)
    return made


def source(
    driver: VersionedBlob, mode: PinMode, info: BlobInfo | None = None, retry: Retry = QUICK
) -> Source:
    info = driver.info if info is None else info
    return Source(driver, "p", info, pin_mode=mode, retry=retry, link=Link("test"))


def part(source: Source, start: int, stop: int = 100) -> bytes:
    return read_to_end(ResumingStream(source, start, stop))


def unversioned(driver: VersionedBlob) -> BlobInfo:
    return BlobInfo("p", driver.info.size)


# ---- pin="error" ---------------------------------------------------------------------------------


def test_a_change_is_an_error_and_nothing_of_the_new_version_is_given(
    driver: VersionedBlob,
) -> None:
    one = source(driver, "error")
    assert part(one, 0, 50) == OLD[:50]
    driver.change(NEW)
    with pytest.raises(BlobChangedError):
        part(one, 50)
    assert driver.left_open == 0


def test_a_change_within_a_stream_that_breaks_is_an_error(driver: VersionedBlob) -> None:
    driver.behave = at_most(10)
    stream, buffer = ResumingStream(source(driver, "error"), 0, 100), memoryview(bytearray(100))
    assert stream.readinto(buffer) == 10
    driver.change(NEW)
    driver.streams[0].behave = breaking(ConnectionResetError, 10)
    with pytest.raises(BlobChangedError):
        stream.readinto(buffer)
    assert stream.position == 10


def test_the_first_stream_tells_the_version_where_the_pin_does_not(driver: VersionedBlob) -> None:
    one = source(driver, "error", unversioned(driver))
    assert part(one, 0, 50) == OLD[:50]
    assert one.pin == driver.info
    driver.change(NEW)
    with pytest.raises(BlobChangedError):
        part(one, 50)
    assert driver.pins == [
        unversioned(driver),
        replace(driver.info, version="version:1", etag='"1"'),
    ]


def test_of_two_streams_that_began_without_a_version_one_is_of_another(
    driver: VersionedBlob,
) -> None:
    one = source(driver, "error", unversioned(driver))
    pin = one.pin
    first = driver.make_stream(OLD, 0, 100)
    second = driver.make_stream(OLD, 0, 100)
    first.info = driver.info
    driver.change(NEW)
    second.info = driver.info
    one.met(first, pin)
    with pytest.raises(BlobChangedError, match="was replaced since it was opened"):
        one.met(second, pin)


def test_another_size_is_an_error_though_no_version_is_known(driver: VersionedBlob) -> None:
    info = unversioned(driver)
    driver.change(LONGER)
    with pytest.raises(BlobChangedError):
        part(source(driver, "error", info), 0)
    assert driver.left_open == 0


# ---- pin="warn" ----------------------------------------------------------------------------------


def test_another_version_of_the_same_size_is_read_after_one_warning(driver: VersionedBlob) -> None:
    one = source(driver, "warn", retry=Retry.of(False))
    assert part(one, 0, 50) == OLD[:50]
    driver.change(NEW)
    with pytest.warns(RuntimeWarning, match="it is read on, as pin='warn' says: 'p'") as caught:
        assert part(one, 50) == NEW[50:]
    assert len(caught) == 1
    driver.change(OLD, "version:3")
    with warnings.catch_warnings():
        assert part(one, 0) == OLD
    assert driver.pins[-1] == BlobInfo("p", 100)
    assert driver.left_open == 0


def test_another_version_is_seen_where_the_first_stream_told_it(driver: VersionedBlob) -> None:
    one = source(driver, "warn", unversioned(driver))
    assert part(one, 0, 50) == OLD[:50]
    driver.change(NEW)
    with pytest.warns(RuntimeWarning, match="it is read on"):
        assert part(one, 50) == NEW[50:]


def test_another_size_is_an_error_where_a_version_would_be_a_warning(
    driver: VersionedBlob,
) -> None:
    one = source(driver, "warn")
    part(one, 0, 50)
    driver.change(LONGER)
    with pytest.raises(BlobChangedError):
        part(one, 50)
    assert one.pin.version == "version:1"


def test_parts_that_see_the_change_together_warn_once() -> None:
    driver = VersionedBlob(OLD)
    one = source(driver, "warn")
    pin, stat, all_ask = one.pin, driver.stat, threading.Barrier(4)
    driver.change(NEW)

    def stat_together(path: str, /) -> BlobInfo:
        all_ask.wait(PATIENCE)
        return stat(path)

    driver.stat = stat_together  # type: ignore[method-assign]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        verdicts = together(*[lambda: one.forgives(BlobChangedError("changed"), pin)] * 4)
    assert verdicts == [True] * 4
    assert len(caught) == 1
    assert not one.forgives(BlobChangedError("in size"), one.pin)


def test_a_failure_to_ask_for_the_size_is_a_failure_like_others(driver: VersionedBlob) -> None:
    one = source(driver, "warn")
    driver.change(NEW)
    stat, broken = driver.stat, [ConnectionResetError()]

    def unsteady(path: str, /) -> BlobInfo:
        if broken:
            raise broken.pop()
        return stat(path)

    driver.stat = unsteady  # type: ignore[method-assign]
    with pytest.warns(RuntimeWarning, match="it is read on"):
        assert part(one, 0) == NEW
    broken.extend(ConnectionResetError() for _ in range(99))
    driver.info = replace(driver.info, version="version:9")
    with pytest.raises(RetriesExhaustedError):
        part(source(driver, "warn", replace(driver.info, version="version:1")), 0)


# ---- pin="off" -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tells", [True, False])
def test_any_version_of_the_size_is_read(tells: bool) -> None:
    for kind in (VersionedBlob, LazyVersionedBlob):
        driver = kind(OLD, tells=tells)
        one = source(driver, "off")
        assert part(one, 0, 50) == OLD[:50]
        driver.change(NEW)
        with warnings.catch_warnings():
            assert part(one, 50) == NEW[50:]
        assert driver.pins == [BlobInfo("p", 100)] * 2


def test_another_size_is_an_error_even_then(driver: VersionedBlob) -> None:
    one = source(driver, "off")
    driver.change(LONGER)
    with pytest.raises(BlobChangedError):
        part(one, 0)


# ---- who it is -----------------------------------------------------------------------------------


def test_no_secret_of_the_path_is_in_an_error() -> None:
    driver = VersionedBlob(OLD)
    driver.redact = lambda path: "/shown"  # type: ignore[attr-defined]
    one = source_of(driver, info=driver.info, path="/secret")
    assert one.shown == "/shown"
    assert str(one.error(BlobError, "was bad")) == "one: was bad: '/shown'"


def test_the_link_is_that_of_the_origin_of_the_driver() -> None:
    driver = VersionedBlob(OLD)
    driver.origin = lambda path: f"http://{path}:80"  # type: ignore[attr-defined]
    assert Source(driver, "p", driver.info).link.origin == "http://p:80"

    def fails(path: str) -> str:
        raise BlobError("no such origin")

    driver.origin = fails  # type: ignore[attr-defined]
    assert Source(driver, "p", driver.info).link.origin == "one"


def test_access_is_known_from_the_first_byte_on(driver: VersionedBlob) -> None:
    one = source(driver, "error")
    stream = ResumingStream(one, 0, 100)
    assert not one.had_access
    stream.readinto(memoryview(bytearray(1)))
    assert one.had_access
    stream.close()
    assert all(isinstance(raw, Stream) and raw.closed for raw in driver.streams)
