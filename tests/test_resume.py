"""A stream goes on where it broke, gives every byte of one version, and leaves nothing behind."""

import gc
import os
import random
import signal
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from misbehaving import LIES, Behaviour, Broken, OneBlob, Stream, at_most, honest, lying
from resuming import QUICK, Hanging, LazyBlob, breaking, quick, read_to_end, source_of
from together import Call, Gate, wait_until

from blobread import (
    BlobError,
    BlobTimeoutError,
    PathNotFoundError,
    ProtocolError,
    RetriesExhaustedError,
    TruncatedBlobError,
)
from blobread.transfer import attempts, resume
from blobread.transfer.attempts import PROGRESS
from blobread.transfer.link import Link
from blobread.transfer.resume import ResumingStream
from blobread.transfer.retry import Retry
from blobread.transfer.source import Source
from blobread.transfer.tokens import TokenBucket

DATA = random.Random(1).randbytes(200)
LARGE = random.Random(2).randbytes(3 * PROGRESS + 17)

ENDS: dict[str, Callable[[], BaseException] | None] = {
    "an early end": None,
    "a reset": ConnectionResetError,
    "a stall": lambda: BlobTimeoutError("nothing arrived"),
    "a driver's own error": Broken,
    "a cut": lambda: TruncatedBlobError("cut"),
}


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> TokenBucket:
    bucket = TokenBucket()
    monkeypatch.setattr(attempts, "bucket", bucket)
    monkeypatch.setattr(resume, "bucket", bucket)
    return bucket


@pytest.fixture(params=[OneBlob, LazyBlob], ids=["eager", "lazy"])
def store(request: pytest.FixtureRequest) -> type[OneBlob]:
    """A store that asks when a stream is made, or when it is read."""
    kind: type[OneBlob] = request.param
    return kind


def resuming(
    driver: OneBlob, offset: int = 0, stop: int | None = None, **more: Any
) -> ResumingStream:
    source = source_of(driver, **more)
    return ResumingStream(source, offset, len(driver.present("p")) if stop is None else stop)


# ---- every byte ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", list(ENDS))
def test_a_stream_that_breaks_anywhere_goes_on_there(store: type[OneBlob], end: str) -> None:
    for at in range(len(DATA)):
        driver = store(DATA, breaking(ENDS[end], at))
        assert read_to_end(resuming(driver), room=1 + at // 3) == DATA
        assert driver.asked == [(0, len(DATA)), (at, len(DATA) - at)]
        assert driver.left_open == 0


def test_each_request_may_break(store: type[OneBlob]) -> None:
    driver = store(LARGE, breaking(ConnectionResetError, 5, PROGRESS, PROGRESS + 1, 2 * PROGRESS))
    assert read_to_end(resuming(driver)) == LARGE
    assert driver.left_open == 0


def test_only_the_range_is_asked_for_and_read(store: type[OneBlob]) -> None:
    driver = store(DATA, breaking(None, 60))
    assert read_to_end(resuming(driver, 50, 70)) == DATA[50:70]
    assert driver.asked == [(50, 20), (60, 10)]


def test_a_stream_of_more_than_was_asked_for_is_not_read_beyond(store: type[OneBlob]) -> None:
    driver = store(DATA)
    driver.make_stream = lambda data, offset, length: Stream(data, offset, None, honest)  # type: ignore[method-assign]
    assert read_to_end(resuming(driver, 50, 70)) == DATA[50:70]


def test_nothing_is_asked_before_the_first_byte_is_read(store: type[OneBlob]) -> None:
    driver = store(DATA)
    stream = resuming(driver)
    assert stream.readinto(memoryview(bytearray(0))) == 0
    assert driver.requests == 0
    stream.close()
    empty = resuming(driver, 5, 5)
    assert empty.readinto(memoryview(bytearray(9))) == 0
    assert driver.requests == 0


def test_what_is_held_is_given_back_with_the_last_byte(store: type[OneBlob]) -> None:
    driver = store(DATA)
    stream = resuming(driver)
    assert stream.readinto(memoryview(bytearray(len(DATA)))) == len(DATA)
    assert driver.left_open == 0
    assert stream.readinto(memoryview(bytearray(9))) == 0
    assert stream.position == len(DATA)
    assert len(driver.asked) == 1


@pytest.mark.parametrize("length", [0, 1, 100, 199, 200])
def test_a_given_stream_may_end_before_the_range_does(length: int) -> None:
    driver = OneBlob(DATA)
    given = driver.read_stream("p", 0, length)
    stream = ResumingStream(source_of(driver, retry=Retry.of(False)), 0, 200, given)
    assert read_to_end(stream) == DATA
    assert driver.asked[1:] == ([(length, 200 - length)] if length < 200 else [])
    assert driver.left_open == 0


def test_a_given_stream_that_breaks_is_resumed() -> None:
    driver = OneBlob(DATA, breaking(ConnectionResetError, 33))
    given = driver.read_stream("p", 0, 100)
    assert read_to_end(ResumingStream(source_of(driver), 0, 200, given)) == DATA
    assert driver.asked[1:] == [(33, 167)]


# ---- giving up -----------------------------------------------------------------------------------


def test_what_brings_nothing_is_given_up_and_can_be_read_on(store: type[OneBlob]) -> None:
    driver = store(DATA, breaking(ConnectionResetError, *[40] * 11))
    stream, buffer = resuming(driver), memoryview(bytearray(300))
    assert stream.readinto(buffer) == 40
    with pytest.raises(RetriesExhaustedError, match="6 failures in a row") as caught:
        stream.readinto(buffer)
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert driver.left_open == 0
    assert stream.position == 40
    assert len(driver.asked) == 6
    assert stream.readinto(buffer) == 160  # with five retries of its own
    assert bytes(buffer[:160]) == DATA[40:]
    assert len(driver.asked) == 12


def test_64_kib_of_progress_are_a_new_beginning(store: type[OneBlob]) -> None:
    for step, works in ((PROGRESS, True), (PROGRESS - 1, False)):
        size = 4 * PROGRESS
        driver = store(bytes(size), breaking(ConnectionResetError, *range(0, size, step)))
        stream = resuming(driver, retry=quick(max_retries=2))
        if works:
            assert len(read_to_end(stream)) == size
        else:
            with pytest.raises(RetriesExhaustedError):
                read_to_end(stream)


def test_off_means_that_the_error_comes_as_it_is(store: type[OneBlob]) -> None:
    error = Broken("once")
    driver = store(DATA, breaking(lambda: error, 10))
    stream = resuming(driver, retry=Retry.of(False))
    with pytest.raises(Broken) as caught:
        read_to_end(stream)
    assert caught.value is error
    assert len(driver.asked) == 1


@pytest.mark.parametrize("error", [PathNotFoundError("gone"), TypeError("a mistake")], ids=repr)
def test_what_does_not_pass_is_raised_at_once(store: type[OneBlob], error: Exception) -> None:
    driver = store(DATA)
    driver.failures.append(error)
    with pytest.raises(type(error)) as caught:
        read_to_end(resuming(driver))
    assert caught.value is error
    assert len(driver.asked) == 1


@pytest.mark.parametrize("lie", list(LIES))
def test_a_length_that_cannot_be_is_an_error(store: type[OneBlob], lie: str) -> None:
    driver = store(DATA, lying(LIES[lie]))
    stream = resuming(driver)
    with pytest.raises(ProtocolError, match="no length between 0 and 50"):
        stream.readinto(memoryview(bytearray(50)))
    assert (len(driver.asked), driver.left_open, stream.position) == (1, 0, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_a_stream_raises_it_is_closed(
    store: type[OneBlob], error: type[BaseException]
) -> None:
    driver = store(DATA, breaking(error, 10))
    stream, buffer = resuming(driver), memoryview(bytearray(300))
    assert stream.readinto(buffer) == 10
    with pytest.raises(error):
        stream.readinto(buffer)
    assert driver.left_open == 0
    assert len(driver.asked) == 1
    assert stream.readinto(buffer) == 190


def test_the_callers_memory_is_free_after_an_error(store: type[OneBlob]) -> None:
    driver = store(DATA, breaking(ConnectionResetError, *[0] * 6))
    stream, memory = resuming(driver), bytearray(300)
    with pytest.raises(RetriesExhaustedError), memoryview(memory) as view:
        stream.readinto(view)
    memory += b"it can be resized"


class Memory(bytearray):
    """Memory that can be watched."""


@pytest.mark.parametrize("retries", [0, 1])
def test_an_error_keeps_the_callers_memory_no_longer_than_it_lives(
    store: type[OneBlob], retries: int
) -> None:
    driver = store(DATA, breaking(ConnectionResetError, *[0] * 6))
    stream = resuming(driver, retry=quick(max_retries=retries))
    memory = Memory(300)
    watched = weakref.ref(memory)
    gc.collect()
    gc.disable()
    try:
        with suppress(OSError):
            stream.readinto(memoryview(memory))
        del memory
        assert watched() is None
    finally:
        gc.enable()


def test_a_close_that_fails_is_a_warning(store: type[OneBlob]) -> None:
    driver = store(DATA)
    driver.behave = breaking(ConnectionResetError, 10)
    stream, buffer = resuming(driver), memoryview(bytearray(300))
    stream.readinto(buffer)

    def refuse() -> None:
        raise Broken("will not close")

    driver.streams[0].close = refuse  # type: ignore[method-assign]
    with pytest.warns(RuntimeWarning, match="closing a stream of 'p' failed"):
        assert stream.readinto(buffer) == 190


def test_a_stream_is_read_by_one_thread_at_a_time() -> None:
    gate = Gate()
    stream = resuming(OneBlob(DATA, gate.before()))
    call = Call(lambda: stream.readinto(memoryview(bytearray(10))))
    gate.wait_until_reached()
    with pytest.raises(RuntimeError, match="one thread at a time"):
        stream.readinto(memoryview(bytearray(10)))
    gate.open()
    assert call.outcome() == 10
    stream.close()


# ---- the deadline --------------------------------------------------------------------------------


def test_an_attempt_that_hangs_is_cut_at_the_deadline() -> None:
    driver = LazyBlob(DATA)
    made: list[Stream] = []

    def make(data: bytes, offset: int, length: int | None) -> Stream:
        kind = Hanging if made else Stream
        made.append(kind(data, offset, length, breaking(ConnectionResetError, 10)))
        return made[-1]

    driver.make_stream = make  # type: ignore[method-assign]
    stream, buffer = resuming(driver, retry=quick(retry_timeout=0.05)), memoryview(bytearray(300))
    assert stream.readinto(buffer) == 10
    with pytest.raises(BlobTimeoutError, match=r"no progress within 0.05 s of the first failure"):
        stream.readinto(buffer)
    assert driver.left_open == 0
    assert len(made) == 2


def test_an_attempt_that_hangs_before_it_is_answered_is_cut_too() -> None:
    driver = LazyBlob(DATA)
    driver.failures.append(ConnectionResetError())
    part = driver.part

    def second_hangs(*args: Any, **more: Any) -> Any:
        driver.gate = Gate() if driver.parts else None
        return part(*args, **more)

    driver.part = second_hangs  # type: ignore[method-assign]
    stream = resuming(driver, retry=quick(retry_timeout=0.05))
    with pytest.raises(BlobTimeoutError, match="no progress"):
        stream.readinto(memoryview(bytearray(9)))
    assert all(one.is_closed for one in driver.parts)


def test_bytes_that_come_are_waited_for_however_late_they_are() -> None:
    clock = threading.Event()

    def behave(stream: Stream, buffer: memoryview) -> int:
        if stream.at == 0 and not clock.is_set():
            clock.set()
            raise ConnectionResetError
        return stream.fill(buffer, 1)

    stream = resuming(OneBlob(DATA, behave), retry=quick(retry_timeout=0.02))
    buffer = memoryview(bytearray(9))
    assert stream.readinto(buffer) == 1
    threading.Event().wait(0.03)  # the reader, which has other things to do
    assert stream.readinto(buffer) == 1
    stream.close()


def test_the_deadline_does_not_run_while_the_reader_is_busy_elsewhere() -> None:
    driver = OneBlob(DATA, breaking(ConnectionResetError, 0, 10))
    stream, buffer = resuming(driver, retry=quick(retry_timeout=900)), memoryview(bytearray(99))
    assert stream.readinto(buffer) == 10
    assert stream._attempts is not None
    assert stream._attempts.deadline is not None
    stream._attempts.deadline -= 1000
    assert stream.readinto(buffer) == 99
    stream.close()


# ---- closing -------------------------------------------------------------------------------------


def test_close_is_idempotent_and_final(store: type[OneBlob]) -> None:
    driver = store(DATA, at_most(10))
    stream, buffer = resuming(driver), memoryview(bytearray(100))
    stream.readinto(buffer)
    stream.close()
    stream.close()
    stream.leave()
    assert driver.left_open == 0
    for room in (0, 5):
        with pytest.raises(ValueError, match="I/O operation on closed stream"):
            stream.readinto(buffer[:room])


def hanging_store(kind: type[OneBlob]) -> OneBlob:
    driver = kind(DATA)
    driver.make_stream = lambda data, offset, length: Hanging(data, offset, length, honest)  # type: ignore[method-assign]
    return driver


@pytest.mark.parametrize("how", ["close", "leave"])
def test_close_ends_a_read_of_bytes(store: type[OneBlob], how: str) -> None:
    driver = hanging_store(store)
    stream = resuming(driver)
    call = Call(lambda: stream.readinto(memoryview(bytearray(9))))
    wait_until(lambda: driver.streams)
    getattr(stream, how)()
    with pytest.raises(ValueError, match="I/O operation on closed stream"):
        call.outcome()
    assert driver.left_open == 0


def test_close_ends_a_read_that_waits_for_its_answer() -> None:
    gate = Gate()
    driver = LazyBlob(DATA, gate=gate)
    stream = resuming(driver)
    call = Call(lambda: stream.readinto(memoryview(bytearray(9))))
    gate.wait_until_reached()
    stream.leave()
    with pytest.raises(ValueError, match="I/O operation on closed stream"):
        call.outcome()
    assert driver.parts[0].is_closed
    assert driver.asked == []


def test_a_stream_that_is_opened_while_we_close_is_closed_unread() -> None:
    gate, driver = Gate(), OneBlob(DATA)
    make = driver.make_stream

    def slowly(data: bytes, offset: int, length: int | None) -> Stream:
        gate.pass_through()
        return make(data, offset, length)

    driver.make_stream = slowly  # type: ignore[method-assign]
    stream = resuming(driver)
    call = Call(lambda: stream.readinto(memoryview(bytearray(9))))
    gate.wait_until_reached()
    stream.leave()  # it has no memory of ours yet
    gate.open()
    with pytest.raises(ValueError, match="I/O operation on closed stream"):
        call.outcome()
    assert (driver.left_open, driver.streams[0].asked) == (0, [])


@pytest.mark.parametrize("how", ["close", "leave"])
def test_close_ends_a_pause(store: type[OneBlob], how: str) -> None:
    driver = store(DATA)
    driver.failures.append(ConnectionResetError())
    policy = Retry(init_backoff=1e6, max_backoff=1e6, retry_timeout=1e9)
    stream = resuming(driver, retry=policy)
    call = Call(lambda: stream.readinto(memoryview(bytearray(9))))
    wait_until(lambda: stream._attempts is not None)
    getattr(stream, how)()
    with pytest.raises(ValueError, match="I/O operation on closed stream"):
        call.outcome()
    assert len(driver.asked) == 1


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no such signals")
def test_ctrl_c_ends_a_pause(store: type[OneBlob]) -> None:
    driver = store(DATA)
    driver.failures.append(ConnectionResetError())
    policy = Retry(init_backoff=1e6, max_backoff=1e6, retry_timeout=1e9)
    stream = resuming(driver, retry=policy)
    main = threading.get_ident()

    def interrupt() -> None:
        wait_until(lambda: stream._attempts is not None)
        signal.pthread_kill(main, signal.SIGINT)

    call = Call(interrupt)
    with pytest.raises(KeyboardInterrupt):
        stream.readinto(memoryview(bytearray(9)))
    call.outcome()
    assert stream.readinto(memoryview(bytearray(9))) == 9
    stream.close()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_signal_handler_may_close_and_leave_what_its_thread_is_reading() -> None:
    driver = OneBlob(DATA)
    stream = resuming(driver)

    def behave(raw: Stream, buffer: memoryview) -> int:
        signal.raise_signal(signal.SIGALRM)
        raise ConnectionResetError

    driver.behave = behave
    before = signal.signal(signal.SIGALRM, lambda *_: stream.leave())
    try:
        with pytest.raises(ValueError, match="I/O operation on closed stream"):
            stream.readinto(memoryview(bytearray(9)))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert driver.left_open == 0


def test_leave_comes_back_when_nobody_can_write_any_more() -> None:
    gate, memory = Gate(), bytearray(9)

    def behave(stream: Stream, buffer: memoryview) -> int:
        gate.pass_through()  # it does not end when it is closed: it is a slow one
        return stream.fill(buffer)

    driver = OneBlob(DATA, behave)
    stream = resuming(driver)
    call = Call(lambda: stream.readinto(memoryview(memory)))
    gate.wait_until_reached()
    leaving = Call(stream.leave)
    wait_until(lambda: driver.streams[0].closed)
    leaving.join(0.05)
    assert leaving.is_alive(), "it has left a thread that can write"
    gate.open()
    leaving.outcome()
    after = bytes(memory)
    with pytest.raises(ValueError, match="closed stream"):
        call.outcome()
    assert bytes(memory) == after


class Stubborn(Stream):
    interruptible = False


def stubborn_store(behave: Behaviour) -> OneBlob:
    driver = OneBlob(LARGE, behave)
    driver.make_stream = lambda data, offset, length: Stubborn(data, offset, length, driver.behave)  # type: ignore[method-assign]
    return driver


def test_a_stream_that_cannot_be_interrupted_never_has_the_callers_memory() -> None:
    gate, memory = Gate(), bytearray(9)
    driver = stubborn_store(gate.before())
    stream = resuming(driver)
    call = Call(lambda: stream.readinto(memoryview(memory)))
    gate.wait_until_reached()
    stream.leave()  # and does not wait for it
    gate.open()
    with pytest.raises(ValueError, match="closed stream"):
        call.outcome()
    assert memory == bytes(9)
    assert driver.left_open == 0


def test_a_stream_that_cannot_be_interrupted_is_read_in_pieces_of_a_mebibyte() -> None:
    data = random.Random(3).randbytes((2 << 20) + 5)
    driver = OneBlob(data)
    driver.make_stream = lambda data, offset, length: Stubborn(data, offset, length, honest)  # type: ignore[method-assign]
    assert read_to_end(resuming(driver), room=4 << 20) == data
    assert driver.streams[0].asked == [1 << 20, 1 << 20, 5]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_closes_what_it_inherited_and_reads_none_of_it() -> None:
    driver = OneBlob(DATA, at_most(10))
    stream, buffer = resuming(driver), memoryview(bytearray(100))
    assert stream.readinto(buffer) == 10
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with stream._lock:
            held.set()
            release.wait()

    holder = Call(hold)
    held.wait()
    child = os.fork()
    if child == 0:
        verdict = 1
        try:
            stream.readinto(buffer)
        except BlobError:
            stream.close()
            stream.leave()
            verdict = 0 if driver.left_open == 0 else 2
        finally:
            os._exit(verdict)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    release.set()
    holder.outcome()
    assert driver.left_open == 1
    assert read_to_end(stream) == DATA[10:]


# ---- what is counted and told --------------------------------------------------------------------


def test_requests_retries_bytes_and_connections_are_counted(store: type[OneBlob]) -> None:
    driver = store(DATA, breaking(ConnectionResetError, 10, 20))
    source = source_of(driver)
    make = driver.make_stream

    def connected(data: bytes, offset: int, length: int | None) -> Stream:
        stream = make(data, offset, length)
        stream.new_connection = offset == 0  # type: ignore[attr-defined]
        return stream

    driver.make_stream = connected  # type: ignore[method-assign]
    read_to_end(ResumingStream(source, 0, 200))
    told = source.counters
    assert (told.requests, told.retries, told.bytes_fetched) == (3, 2, 200)
    assert told.connections == (1 if store is OneBlob else 0)


class Ear(Link):
    """A link that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("test")
        self.begun = 0
        self.told: list[tuple[float | None, int, float]] = []

    def started(self) -> None:
        self.begun += 1

    def finished(self, first_byte_after: float | None, count: int, seconds: float) -> None:
        self.told.append((first_byte_after, count, seconds))


def test_the_link_is_told_of_each_request_once(store: type[OneBlob]) -> None:
    driver = store(DATA, breaking(ConnectionResetError, 10, 20))
    driver.failures.append(ConnectionResetError())
    ear = Ear()
    stream = resuming(driver, link=ear)
    buffer = memoryview(bytearray(100))
    while stream.position < 150:
        stream.readinto(buffer)
    stream.close()
    stream.close()
    assert ear.begun == len(ear.told) == 4
    assert ear.told[0] == (None, 0, 0.0)
    counts = [count for _, count, _ in ear.told]
    # A lazy stream's first bytes come with the answer, and tell nothing of the bandwidth.
    assert counts == ([0, 10, 10, 180] if store is OneBlob else [0, 0, 0, 80])
    assert all(first is not None and first >= 0 for first, _, _ in ear.told[1:])


def test_the_link_is_told_what_the_stream_knows_better(store: type[OneBlob]) -> None:
    driver, ear = store(DATA), Ear()
    make = driver.make_stream

    def measured(data: bytes, offset: int, length: int | None) -> Stream:
        stream = make(data, offset, length)
        stream.first_byte_after = 0.125  # type: ignore[attr-defined]
        return stream

    driver.make_stream = measured  # type: ignore[method-assign]
    if store is OneBlob:
        read_to_end(resuming(driver, link=ear))
        assert ear.told[0][0] == 0.125


def test_a_success_gives_tokens_back(store: type[OneBlob], bucket: TokenBucket) -> None:
    driver = store(DATA, breaking(ConnectionResetError, 10, 20))
    stream, buffer = resuming(driver), memoryview(bytearray(300))
    stream.readinto(buffer)
    stream.readinto(buffer)
    assert bucket.tokens == 495
    read_to_end(stream)
    assert bucket.tokens == 500


def test_unreliable_streams_give_every_byte_or_an_error() -> None:
    for seed in range(60):
        choose = random.Random(seed)

        def behave(stream: Stream, buffer: memoryview, choose: random.Random = choose) -> int:
            match choose.randrange(6):
                case 0:
                    raise Broken("before a byte")
                case 1:
                    stream.fill(buffer, choose.randrange(len(buffer) + 1))
                    raise TruncatedBlobError("with bytes written already")
                case 2:
                    return 0
            return stream.fill(buffer, choose.choice([1, 7, 4096, PROGRESS]))

        driver = (OneBlob, LazyBlob)[seed % 2](LARGE, behave)
        stream = resuming(driver, retry=quick(max_retries=2))
        data, buffer = bytearray(), memoryview(bytearray(choose.choice([3000, 1 << 20])))
        while len(data) < len(LARGE):
            with suppress(RetriesExhaustedError):  # after which it can be read on
                data += buffer[: stream.readinto(buffer)]
            assert stream.position == len(data)
        assert data == LARGE
        assert driver.left_open == 0


def test_a_source_without_a_link_takes_the_one_of_its_driver() -> None:
    driver = OneBlob(DATA)
    source = Source(driver, "p", driver.stat("p"), retry=QUICK)
    with warnings.catch_warnings():
        assert source.link.origin == "one"
