"""DriverSuite fails for each driver that is wrong in one thing, and for none that is right."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from blobread import BlobError, BlobInfo, PathNotFoundError
from blobread.drivers.memory import MemoryDriver, MemoryStream
from blobread.testing import DriverSuite


class Right(MemoryDriver):
    """Is its own store."""

    def path(self, name: str) -> str:
        return name

    def open(self, path: str, /) -> tuple[BlobInfo, MemoryStream]:
        return self.stat(path), self.read_stream(path)


class Wrong(Right):
    """Streams of this one may be told how to go wrong."""

    class Stream(MemoryStream):
        pass

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> MemoryStream:
        right = super().read_stream(path, offset, length, pin=pin)
        return self.Stream(right._left.tobytes(), 0, len(right._left))


class OneTooFar(Wrong):
    def read_stream(self, path: str, offset: int = 0, *rest: Any, **pin: Any) -> MemoryStream:
        return super().read_stream(path, offset + (offset > 0), *rest, **pin)


class EndsEarly(Wrong):
    class Stream(MemoryStream):
        def __init__(self, data: bytes, start: int, stop: int) -> None:
            super().__init__(data, start, min(stop, 1 << 18))


class IgnoresLength(Wrong):
    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> MemoryStream:
        return super().read_stream(path, offset, pin=pin)


class IgnoresPin(Wrong):
    def read_stream(self, *args: Any, pin: BlobInfo | None = None) -> MemoryStream:
        return super().read_stream(*args)


class PinsSizeOnly(Wrong):
    def read_stream(self, *args: Any, pin: BlobInfo | None = None) -> MemoryStream:
        return super().read_stream(*args, pin=pin and replace(pin, version=None))


class IgnoresEtag(Wrong):
    def read_stream(self, *args: Any, pin: BlobInfo | None = None) -> MemoryStream:
        return super().read_stream(*args, pin=pin and replace(pin, etag=None))


class LooksAtThePathFirst(Wrong):
    def read_stream(self, path: str, *args: Any, **pin: Any) -> MemoryStream:
        self.stat(path)
        return super().read_stream(path, *args, **pin)


class TakesNegativeOffsets(Wrong):
    def read_stream(self, path: str, offset: int = 0, *rest: Any, **pin: Any) -> MemoryStream:
        return super().read_stream(path, max(0, offset), *rest, **pin)


class MissingIsEmpty(Wrong):
    def read_stream(self, *args: Any, **pin: Any) -> MemoryStream:
        try:
            return super().read_stream(*args, **pin)
        except PathNotFoundError:
            return MemoryStream(b"", 0, 0)


class RemembersMissing(Wrong):
    def stat(self, path: str, /) -> BlobInfo:
        missing = self.__dict__.setdefault("missing", set())
        if path in missing:
            raise PathNotFoundError("no such blob", driver=self.name, path=path)
        try:
            return super().stat(path)
        except PathNotFoundError:
            missing.add(path)
            raise


class CountsTooMuch(Wrong):
    class Stream(MemoryStream):
        def readinto(self, buffer: memoryview, /) -> int:
            return super().readinto(buffer) + 1


class WritesBeside(Wrong):
    class Stream(MemoryStream):
        def readinto(self, buffer: memoryview, /) -> int:
            whole = buffer.obj
            if isinstance(whole, bytearray) and len(whole) > len(buffer):
                whole[-1] ^= 0xFF
            return super().readinto(buffer)


class FailsAtTheEnd(Wrong):
    class Stream(MemoryStream):
        def readinto(self, buffer: memoryview, /) -> int:
            if not self._left:
                raise BlobError("the end")
            return super().readinto(buffer)


class FailsAfterTheEnd(Wrong):
    class Stream(MemoryStream):
        ends = 0

        def readinto(self, buffer: memoryview, /) -> int:
            self.ends += not self._left
            if self.ends > 1:
                raise BlobError("it has ended")
            return super().readinto(buffer)


class GoesOnWhenClosed(Wrong):
    class Stream(MemoryStream):
        def close(self) -> None:
            pass


class ClosesOnce(Wrong):
    class Stream(MemoryStream):
        def close(self) -> None:
            if self._closed:
                raise BlobError("is closed already")
            super().close()


class HasOneStream(Wrong):
    def read_stream(self, path: str, *args: Any, **pin: Any) -> MemoryStream:
        streams = self.__dict__.setdefault("streams", {})
        if path not in streams:
            streams[path] = super().read_stream(path, *args, **pin)
        found: MemoryStream = streams[path]
        return found


class TellsAnotherPath(Wrong):
    def stat(self, path: str, /) -> BlobInfo:
        return replace(super().stat(path), path=path.upper())


class KnowsAWrongDigest(Wrong):
    def stat(self, path: str, /) -> BlobInfo:
        return replace(super().stat(path), digest="sha256:" + "0" * 64)


class OpensAnother(Wrong):
    def open(self, path: str, /) -> tuple[BlobInfo, MemoryStream]:
        return replace(self.stat(path), version=None), self.read_stream(path)


class OpensTheMiddle(Wrong):
    def open(self, path: str, /) -> tuple[BlobInfo, MemoryStream]:
        return self.stat(path), self.read_stream(path, 1)


class ListsAll(Wrong):
    def list(self, prefix: str = "", /) -> Iterator[BlobInfo]:
        return super().list("")


class NamesNoDriver(Wrong):
    def stat(self, path: str, /) -> BlobInfo:
        try:
            return super().stat(path)
        except PathNotFoundError as error:
            raise PathNotFoundError("no such blob", path=path) from error


class DoesNotPickle(Wrong):
    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle this")


class OthersError(PathNotFoundError):
    """Cannot be made from its message alone."""

    def __init__(self, message: str, code: int = 0, **known: Any) -> None:
        super().__init__(f"{message} ({code})", **known)


class HasErrorsThatDoNotTravel(Wrong):
    def stat(self, path: str, /) -> BlobInfo:
        try:
            return super().stat(path)
        except PathNotFoundError as error:
            raise OthersError("no such blob", 5, driver=self.name, path=path) from error


CASES: list[tuple[type[Wrong], str, dict[str, Any]]] = [
    (OneTooFar, "stream_gives_the_bytes_between_its_offsets", {"offset": 32, "length": None}),
    (EndsEarly, "stream_gives_every_byte", {"size": (1 << 18) + 1}),
    (EndsEarly, "reader_gives_every_byte", {"size": (1 << 20) + 13}),
    (IgnoresLength, "stream_gives_the_bytes_between_its_offsets", {"offset": 0, "length": 32}),
    (IgnoresLength, "negative_length_is_an_error", {}),
    (IgnoresPin, "pin_sees_that_the_size_has_changed", {"size": 99}),
    (IgnoresPin, "pin_made_by_hand_pins_the_size_alone", {}),
    (PinsSizeOnly, "pin_sees_another_version_of_the_same_size", {}),
    (PinsSizeOnly, "pin_with_a_foreign_version_fits_nothing", {}),
    (IgnoresEtag, "pin_made_by_hand_with_a_foreign_etag_fits_nothing", {}),
    (
        LooksAtThePathFirst,
        "negative_offset_is_an_error_before_the_path_is_looked_at",
        {"offset": -1},
    ),
    (
        TakesNegativeOffsets,
        "negative_offset_is_an_error_before_the_path_is_looked_at",
        {"offset": -1},
    ),
    (MissingIsEmpty, "missing_path_is_an_error_at_any_offset", {"offset": 64}),
    (MissingIsEmpty, "pin_of_a_blob_that_is_gone_does_not_find_it", {}),
    (MissingIsEmpty, "deleted_blob_is_missing_and_its_neighbours_are_not", {}),
    (RemembersMissing, "blob_that_comes_late_is_found", {}),
    (CountsTooMuch, "window_of_any_size_is_filled_and_nothing_beside_it", {"size": 64}),
    (WritesBeside, "window_of_any_size_is_filled_and_nothing_beside_it", {"size": 64}),
    (FailsAtTheEnd, "stream_gives_every_byte", {"size": 1}),
    (FailsAfterTheEnd, "last_byte_is_followed_by_the_end_and_nothing_else", {}),
    (GoesOnWhenClosed, "closed_stream_gives_no_byte", {}),
    (ClosesOnce, "closing_twice_is_nothing_more", {}),
    (HasOneStream, "streams_of_one_blob_are_independent", {}),
    (HasOneStream, "threads_read_one_blob_at_random_offsets", {}),
    (TellsAnotherPath, "stat_tells_of_the_blob", {}),
    (KnowsAWrongDigest, "stat_tells_of_the_blob", {}),
    (OpensAnother, "open_tells_what_stat_tells_and_gives_the_first_bytes", {}),
    (OpensTheMiddle, "open_tells_what_stat_tells_and_gives_the_first_bytes", {}),
    (ListsAll, "list_tells_of_what_starts_with_a_prefix", {}),
    (NamesNoDriver, "errors_name_the_driver", {}),
    (DoesNotPickle, "pickled_driver_reads_the_same", {}),
    (HasErrorsThatDoNotTravel, "errors_pickle_and_are_made_again_from_their_message", {}),
]


def run(driver: MemoryDriver, test: str, arguments: dict[str, Any]) -> None:
    getattr(DriverSuite(), f"test_{test}")(driver, driver, **arguments)


@pytest.mark.parametrize(
    ("wrong", "test", "arguments"),
    CASES,
    ids=[f"{wrong.__name__}-{test}" for wrong, test, _ in CASES],
)
def test_wrong_driver_fails_where_a_right_one_passes(
    wrong: type[Wrong], test: str, arguments: dict[str, Any]
) -> None:
    run(Right(), test, arguments)
    run(Wrong(), test, arguments)
    with pytest.raises((AssertionError, pytest.fail.Exception, BlobError, TypeError, ValueError)):
        run(wrong(), test, arguments)
