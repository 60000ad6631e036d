"""Many blobs by one call: in turn, bounded, each with its own error, and over when it is left."""

import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from conftest import Nginx
from faults import EVER, Blob, Fault, FaultServer, When
from forked import in_child, needs_fork
from together import Call, Gate, wait_until

import blobread
from blobread import BlobInfo
from blobread.driver import RawStream
from blobread.transfer.budget import BUDGET
from blobread.transfer.retry import Retry
from blobread.whole import many

KIB = 1 << 10
read_many: Any = many.read_many  # with the methods of what it returns
QUICK = Retry(init_backoff=0, max_backoff=0)


class Stream:
    """Of a blob of `Store`; it may be told to wait."""

    def __init__(self, store: "Store", path: str, data: bytes) -> None:
        self.store = store
        self.path = path
        self.data = data
        self.at = 0
        self.is_closed = False

    def readinto(self, buffer: memoryview, /) -> int:
        self.store.on_read(self)
        if self.is_closed:
            raise ValueError("I/O operation on closed stream")
        piece = self.data[self.at : self.at + len(buffer)]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            with self.store.lock:
                self.store.open_streams -= 1
        self.store.on_close(self)


class Store:
    """A store that is not local: paths are numbers, and say how many bytes a blob has."""

    name = "store"

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.asked: list[tuple[str, int]] = []
        self.open_streams = 0
        self.most_streams = 0
        self.lock = threading.Lock()
        self.on_open: Callable[[str], object] = lambda path: None
        self.on_read: Callable[[Stream], object] = lambda stream: None
        self.on_close: Callable[[Stream], object] = lambda stream: None

    def origin(self, path: str, /) -> str:
        return f"store:{id(self)}"  # nothing is known of the way there

    def stat(self, path: str, /) -> BlobInfo:
        return BlobInfo(path, len(content(path)), "version:1")

    def open(self, path: str, /) -> tuple[BlobInfo, RawStream]:
        self.on_open(path)
        with self.lock:
            self.opened.append(path)
        return self.stat(path), self.stream(path, content(path)[: 256 * KIB])

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> RawStream:
        data = content(path)
        self.asked.append((path, offset))
        stop = len(data) if length is None else offset + length
        return self.stream(path, data[offset:stop])

    def stream(self, path: str, data: bytes) -> Stream:
        with self.lock:
            self.open_streams += 1
            self.most_streams = max(self.most_streams, self.open_streams)
        return Stream(self, path, data)


def content(path: str) -> bytes:
    """What a blob holds: "7x100" is 100 bytes that no other has."""
    number, _, size = path.partition("x")
    return (number.encode() + b"|") * (int(size) // (len(number) + 1)) + b"." * (
        int(size) % (len(number) + 1)
    )


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    blobread.register_scheme("many", lambda url: (store, url[len("many://") :]))
    yield store
    wait_until(lambda: store.open_streams == 0)


def urls_of(count: int, size: int = 1000) -> list[str]:
    return [f"many://{number}x{size}" for number in range(count)]


def check(results: Any, urls: list[str]) -> None:
    """Every blob has come, whole, in order."""
    found = list(results)
    assert [url for url, _ in found] == urls
    for url, data in found:
        assert isinstance(data, memoryview)
        assert data == content(url[len("many://") :])


@pytest.mark.parametrize("most", [None, 1, 3])
@pytest.mark.parametrize("size", [0, 1, 1000, 256 * KIB, 300 * KIB])
def test_blobs_come_whole_and_in_order(store: Store, size: int, most: int | None) -> None:
    urls = urls_of(50, size)
    check(read_many(urls, max_concurrency=most), urls)


def test_no_urls_are_no_blobs() -> None:
    assert list(read_many([])) == []


def test_blobs_come_as_they_are_complete_where_order_does_not_matter(store: Store) -> None:
    gate = Gate()
    store.on_open = lambda path: gate.pass_through() if path.startswith("0x") else None
    blobs = read_many(urls_of(20), ordered=False, max_concurrency=2)
    first = [next(blobs)[0] for _ in range(3)]
    assert "many://0x1000" not in first
    gate.open()
    rest = [url for url, _ in blobs]
    assert sorted(first + rest) == sorted(urls_of(20))


def test_memory_is_writable_and_the_callers_own(store: Store) -> None:
    views = [data for _, data in read_many(urls_of(3, 10))]
    assert all(isinstance(view, memoryview) and not view.readonly for view in views)
    views[0][0] = 255
    assert bytes(views[1]) == content("1x10")


def test_no_more_are_read_at_a_time_than_was_said(store: Store) -> None:
    urls = urls_of(200)
    check(read_many(urls, max_concurrency=3), urls)
    assert store.most_streams <= 3


def test_all_that_may_be_read_at_a_time_are(store: Store) -> None:
    meeting = threading.Barrier(5)
    store.on_open = lambda path: meeting.wait(60)
    urls = urls_of(20)
    check(read_many(urls, max_concurrency=5), urls)


def test_more_are_begun_as_long_as_there_is_no_answer(store: Store) -> None:
    meeting = threading.Barrier(100)
    store.on_open = lambda path: meeting.wait(60)
    urls = urls_of(100)
    check(read_many(urls), urls)


def test_urls_without_end_are_taken_as_they_are_needed(store: Store) -> None:
    taken = itertools.count()
    urls = (f"many://{number}x10" for number in taken)
    with read_many(urls, max_concurrency=4) as blobs:
        for _ in range(10):
            next(blobs)
    assert next(taken) <= 10 + 2 * 4


def test_urls_that_fail_fail_after_the_blobs_before(store: Store) -> None:
    def urls() -> Iterator[str]:
        yield from urls_of(5)
        raise RuntimeError("no more")

    blobs = read_many(urls())
    assert [next(blobs)[0] for _ in range(5)] == urls_of(5)
    with pytest.raises(RuntimeError, match="no more"):
        next(blobs)
    assert list(blobs) == []


# ---- errors


def missing(path: str) -> None:
    if path.startswith("3x"):
        raise blobread.PathNotFoundError("there is none", driver="store", path=path)


def test_error_is_raised_in_its_turn_and_ends_it(store: Store) -> None:
    store.on_open = missing
    blobs = read_many(urls_of(50))
    assert [next(blobs)[0] for _ in range(3)] == urls_of(3)
    with pytest.raises(blobread.PathNotFoundError):
        next(blobs)
    assert list(blobs) == []


def test_error_takes_the_place_of_its_blob(store: Store) -> None:
    store.on_open = missing
    found = list(read_many(urls_of(6), on_error="return"))
    assert [url for url, _ in found] == urls_of(6)
    assert isinstance(found[3][1], blobread.PathNotFoundError)
    assert all(isinstance(data, memoryview) for url, data in found if "/3x" not in url)


def test_blob_with_an_error_is_left_out(store: Store) -> None:
    store.on_open = missing
    found = [url for url, _ in read_many(urls_of(6), on_error="omit")]
    assert found == [url for url in urls_of(6) if "/3x" not in url]


@pytest.mark.parametrize("on_error", ["raise", "return", "omit"])
def test_option_that_nobody_knows_is_an_error_in_any_case(store: Store, on_error: Any) -> None:
    with pytest.raises(TypeError):
        list(read_many(urls_of(3), on_error=on_error, unheard_of=1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"on_error": "ignore"}, ValueError),
        ({"max_concurrency": 0}, ValueError),
        ({"pin": "maybe"}, ValueError),
        ({"parallel": 0}, ValueError),
        ({"retry": "often"}, TypeError),
        ({"storage_options": {"retry": 1}, "retry": 2}, TypeError),
    ],
    ids=repr,
)
def test_what_is_wrong_with_the_call_is_said_by_the_call(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        read_many([], **options)


def test_stream_that_breaks_is_resumed(store: Store) -> None:
    broken = threading.Lock()

    def break_once(stream: Stream) -> None:
        if stream.path.startswith("2x") and stream.at == 0 and broken.acquire(blocking=False):
            raise blobread.TruncatedBlobError("broke", driver="store")

    store.on_read = break_once
    urls = urls_of(5)
    check(read_many(urls, retry=QUICK), urls)
    assert store.asked == [("2x1000", 0)]


def test_opening_that_may_work_later_is_tried_again(store: Store) -> None:
    left = [1, 1]

    def fail(path: str) -> None:
        if path.startswith("2x") and left:
            left.pop()
            raise blobread.BlobError("busy", driver="store", status=503)

    store.on_open = fail
    urls = urls_of(5)
    check(read_many(urls, retry=QUICK), urls)
    store.on_open = lambda path: (_ for _ in ()).throw(blobread.BlobError("busy", status=503))
    with pytest.raises(blobread.BlobError, match="busy"):
        list(read_many(urls, retry=0))


# ---- memory


def test_memory_that_nobody_has_asked_for_is_within_the_budget(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUDGET, "_whole", 100 * KIB)
    monkeypatch.setattr(BUDGET, "_parts", 1)
    blobs = read_many(urls_of(50, 40 * KIB), max_concurrency=10)
    for _ in range(10):
        under_way = blobs._under_way
        url, data = next(blobs)
        assert data == content(url[len("many://") :])
        assert under_way._memory <= 100 * KIB
    blobs.close()


@pytest.mark.parametrize("ordered", [True, False])
def test_blobs_larger_than_the_budget_are_read_one_by_one(
    store: Store, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUDGET, "_whole", 100 * KIB)
    monkeypatch.setattr(BUDGET, "_parts", 1)
    urls = urls_of(30, 200 * KIB)
    found = list(read_many(urls, ordered=ordered))
    assert sorted(url for url, _ in found) == sorted(urls)


def test_blob_whose_turn_it_is_is_read_when_those_behind_it_have_all_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUDGET, "_whole", 100 * KIB)
    monkeypatch.setattr(BUDGET, "_parts", 1)
    gate = Gate()
    store.on_open = lambda path: gate.pass_through() if path.startswith("0x") else None
    urls = [f"many://0x{90 * KIB}", *urls_of(10, 30 * KIB)[1:]]
    blobs = read_many(urls)
    call = Call(lambda: check(blobs, urls))
    gate.wait_until_reached()
    wait_until(lambda: len(blobs._under_way._done) == 3)
    gate.open()
    call.outcome()


def test_calls_that_wait_for_their_callers_do_not_stop_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUDGET, "_whole", 10 * KIB)
    monkeypatch.setattr(BUDGET, "_parts", 1)
    urls = urls_of(300, 9 * KIB)
    waiting = [read_many(urls, max_concurrency=128) for _ in range(3)]
    for blobs in waiting:
        next(blobs)
    check(read_many(urls), urls)
    for blobs in waiting:
        blobs.close()


# ---- the end


def test_close_ends_reads_that_hang(store: Store) -> None:
    closed = threading.Event()
    hanging = threading.Semaphore(0)

    def hang(stream: Stream) -> None:
        if not stream.path.startswith("0x"):
            hanging.release()
            assert closed.wait(60)

    store.on_read = hang
    store.on_close = lambda stream: None if stream.path.startswith("0x") else closed.set()
    blobs = read_many(urls_of(20), max_concurrency=4)
    next(blobs)
    for _ in range(3):
        hanging.acquire()
    blobs.close()
    assert store.open_streams == 0
    assert list(blobs) == []


def test_left_loop_leaves_nothing_open(store: Store) -> None:
    for _ in read_many(urls_of(100)):
        break
    gc.collect()
    assert store.open_streams == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_error_of_the_consumer_leaves_nothing_open(
    store: Store, error: type[BaseException]
) -> None:
    with suppress(error):
        for _ in read_many(urls_of(100)):
            raise error
    gc.collect()
    assert store.open_streams == 0


def test_interrupt_while_waiting_leaves_nothing_open(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = read_many(urls_of(100, 300 * KIB))
    next(blobs)
    under_way = blobs._under_way

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(under_way, "_take_more", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(blobs)
    assert store.open_streams == 0
    assert list(blobs) == []


def test_close_waits_for_an_opening_that_nothing_can_interrupt(store: Store) -> None:
    gate = Gate()
    store.on_open = lambda path: gate.pass_through() if path.startswith("1x") else None
    blobs = read_many(urls_of(3))
    next(blobs)
    gate.wait_until_reached()
    call = Call(blobs.close)
    wait_until(lambda: blobs._under_way._is_over)
    assert call.is_alive()
    gate.open()
    call.outcome()
    assert store.open_streams == 0


@needs_fork
def test_forked_child_leaves_what_is_the_parents(store: Store) -> None:
    gate = Gate()
    store.on_open = lambda path: gate.pass_through() if path == "1x1000" else None
    blobs = read_many(urls_of(100))
    next(blobs)
    gate.wait_until_reached()

    def check_child() -> None:
        with pytest.raises(blobread.BlobError, match="forked"):
            next(blobs)
        blobs.close()
        check(read_many(urls_of(10, 10)), urls_of(10, 10))

    in_child(check_child)
    gate.open()
    assert len(list(blobs)) == 99


# ---- other stores


def test_local_files_are_read(tmp_path: Any) -> None:
    for number in range(30):
        (tmp_path / str(number)).write_bytes(str(number).encode() * number)
    urls = [tmp_path / str(number) for number in range(30)]
    assert [bytes(data) for _, data in read_many(urls)] == [
        str(number).encode() * number for number in range(30)
    ]


def test_small_and_large_blobs_come_over_http(nginx: Nginx) -> None:
    sizes = [0, 1, 70_000, 300_000, 3_000_000, 12]
    for size in sizes:
        (nginx.root / f"many{size}").write_bytes(Blob(size).read(0, size))
    found = list(read_many([f"{nginx.url}/many{size}" for size in sizes]))
    assert [bytes(data) for _, data in found] == [Blob(size).read(0, size) for size in sizes]


def test_blob_of_unknown_size_is_read_to_its_end(fault_server: FaultServer) -> None:
    case = fault_server.case(Blob(90_000), Fault("whole", times=EVER), Fault("chunked", times=EVER))
    ((_, data),) = read_many([case.url])
    assert data == case.blob.read(0, 90_000)


def test_blob_that_changes_while_it_is_read_is_an_error(fault_server: FaultServer) -> None:
    case = fault_server.case(Blob(3_000_000), Fault("replaced", when=When(after=1), times=EVER))
    ((_, error),) = read_many([case.url], on_error="return")
    assert isinstance(error, blobread.BlobChangedError)


def test_verify_is_for_each_blob(nginx: Nginx) -> None:
    (nginx.root / "many").write_bytes(b"content")
    url = f"{nginx.url}/many"
    ((_, error),) = read_many([url], on_error="return", verify="sha256:" + 64 * "0")
    assert isinstance(error, blobread.DigestMismatchError)
