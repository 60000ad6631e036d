"""What is tried again, how often, after which pauses, and when it is given up."""

import errno
import http.client
import io
import logging
import os
import pickle
import socket
import ssl
import threading
import urllib.error
from email.message import Message
from typing import Any

import pytest
from together import Call, together

from blobread import (
    AccessDeniedError,
    AuthenticationError,
    BlobChangedError,
    BlobError,
    BlobIsDirectoryError,
    BlobTimeoutError,
    DigestMismatchError,
    InvalidOffsetError,
    InvalidPathError,
    PathNotFoundError,
    ProtocolError,
    RangeNotSupportedError,
    RetriesExhaustedError,
    TruncatedBlobError,
    UnsafeRedirectError,
)
from blobread.transfer import attempts as attempts_module
from blobread.transfer.attempts import PROGRESS, Attempts
from blobread.transfer.retry import Retry, is_transient
from blobread.transfer.tokens import TokenBucket


class Clock:
    """Time that passes only where somebody waits; `pauses` has how long, in total for each wait."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now


class Waiting(Attempts):
    """Attempts that wait on a clock of the test's own."""

    def __init__(self, retry: Retry, clock: Clock) -> None:
        super().__init__(retry, "one", "/secret/path", "/shown")
        self.clock = clock

    def _wait(self, seconds: float) -> None:
        self.clock.pauses.append(seconds)
        self.clock.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(attempts_module, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> TokenBucket:
    bucket = TokenBucket()
    monkeypatch.setattr(attempts_module, "bucket", bucket)
    return bucket


def status(code: int, kind: type[BlobError] = BlobError, **more: Any) -> BlobError:
    return kind(f"the server answered {code}", status=code, **more)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


# ---- the policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "retries"),
    [(None, 5), (True, 5), (False, 0), (0, 0), (3, 3), (Retry(max_retries=9), 9)],
)
def test_a_policy_is_made_of_whatever_a_caller_passes(value: Any, retries: int) -> None:
    assert Retry.of(value).max_retries == retries


def test_a_policy_is_taken_as_it_is() -> None:
    policy = Retry(retry_timeout=3)
    assert Retry.of(policy) is policy


@pytest.mark.parametrize("value", ["5", 2.5, (), object()])
def test_what_is_no_policy_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="retry must be"):
        Retry.of(value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"retry_timeout": -0.1},
        {"init_backoff": -1},
        {"max_backoff": float("nan")},
    ],
)
def test_a_negative_parameter_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be 0 or more"):
        Retry(**wrong)


@pytest.mark.parametrize("count", [1.5, True, "1"])
def test_a_count_that_is_no_int_is_a_type_error(count: Any) -> None:
    with pytest.raises(TypeError, match="max_retries must be an int"):
        Retry(max_retries=count)


def test_a_policy_pickles() -> None:
    policy = Retry(max_retries=2, retry_timeout=1.5)
    assert pickle.loads(pickle.dumps(policy)) == policy


# ---- which failures may pass ---------------------------------------------------------------------

PASSING = [
    TruncatedBlobError("cut"),
    BlobTimeoutError("stalled"),
    *(status(code) for code in (408, 425, 429, 500, 502, 503, 504)),
    BlobError("refused", errno=errno.ECONNREFUSED),
    BlobError("no name now", errno=socket.EAI_AGAIN),
    BlobError("inherited"),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    BrokenPipeError(errno.EPIPE, "pipe"),
    ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    http.client.RemoteDisconnected("gone"),
    TimeoutError("late"),
    OSError(errno.EIO, "I/O"),
    OSError(errno.EHOSTUNREACH, "no route"),
    OSError("of a library that gives no number"),
    ssl.SSLEOFError("TLS was cut"),
    caused(BlobError("TLS was cut"), ssl.SSLEOFError("cut")),
    urllib.error.HTTPError("http://x", 503, "busy", Message(), None),
]

FINAL = [
    PathNotFoundError("no"),
    AccessDeniedError("no"),
    AuthenticationError("no"),
    status(407, AuthenticationError),
    BlobIsDirectoryError("no"),
    InvalidPathError("no"),
    InvalidOffsetError("no"),
    BlobChangedError("no"),
    status(412, BlobChangedError),
    DigestMismatchError("no"),
    ProtocolError("no"),
    RangeNotSupportedError("no"),
    RetriesExhaustedError("no"),
    UnsafeRedirectError("no"),
    *(status(code) for code in (400, 404, 405, 410, 412, 416, 451, 501, 505)),
    FileNotFoundError(errno.ENOENT, "no"),
    PermissionError(errno.EACCES, "no"),
    NotADirectoryError(errno.ENOTDIR, "no"),
    OSError(errno.EBADF, "no"),
    OSError(errno.EINVAL, "no"),
    OSError(errno.ESTALE, "no"),
    io.UnsupportedOperation("no"),
    ssl.SSLCertVerificationError("not trusted"),
    caused(BlobError("no connection"), ssl.SSLCertVerificationError("not trusted")),
    urllib.error.HTTPError("http://x", 404, "none", Message(), None),
    TypeError("no"),
    ValueError("no"),
    AttributeError("no"),
    MemoryError(),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_what_does_not_pass_is_not_tried_again(error: Exception, clock: Clock) -> None:
    assert not is_transient(error)
    assert Waiting(Retry(), clock).failed(error) is error
    assert clock.pauses == []


# ---- rows of failures ----------------------------------------------------------------------------


def test_five_retries_bring_nothing_and_the_sixth_failure_is_the_last(clock: Clock) -> None:
    attempts, error = Waiting(Retry(), clock), status(503)
    assert [attempts.failed(error) for _ in range(5)] == [None] * 5
    verdict = attempts.failed(error)
    assert isinstance(verdict, RetriesExhaustedError)
    assert "6 failures in a row; Retry(max_retries=...) allows more" in str(verdict)
    assert "the server answered 503" in str(verdict)
    assert verdict.status == 503


@pytest.mark.parametrize(("progress", "ends"), [(PROGRESS - 1, True), (PROGRESS, False)])
def test_64_kib_begin_a_new_row(clock: Clock, progress: int, ends: bool) -> None:
    attempts = Waiting(Retry(max_retries=2), clock)
    verdicts = [attempts.failed(TruncatedBlobError("cut"), progress) for _ in range(20)]
    assert any(verdicts) is ends


def test_off_is_the_error_itself(clock: Clock) -> None:
    error = status(503)
    assert Waiting(Retry.of(False), clock).failed(error) is error


@pytest.mark.parametrize(
    ("code", "had_access", "tries"),
    [(401, False, 1), (401, True, 1), (403, False, 0), (403, True, 1)],
)
def test_credentials_that_expired_are_asked_for_anew_once(
    clock: Clock, code: int, had_access: bool, tries: int
) -> None:
    attempts = Waiting(Retry(), clock)
    error = status(code, AuthenticationError if code == 401 else AccessDeniedError)
    for _ in range(tries):
        assert attempts.failed(error, had_access=had_access) is None
    assert attempts.failed(error, had_access=had_access) is error
    assert clock.pauses == []


# ---- pauses --------------------------------------------------------------------------------------


def test_pauses_are_drawn_between_the_first_one_and_thrice_the_last(
    clock: Clock, bucket: TokenBucket
) -> None:
    policy = Retry(max_retries=30, init_backoff=0.05, max_backoff=5, retry_timeout=1e6)
    reached = 0.0
    for _ in range(200):
        clock.pauses.clear()
        attempts = Waiting(policy, clock)
        for _ in range(12):
            assert attempts.failed(TimeoutError()) is None
            bucket.give(TokenBucket.capacity)
        last = 0.05
        for pause in clock.pauses:
            assert 0.05 <= pause <= min(3 * last, 5.0)
            last = pause
        reached = max(reached, *clock.pauses)
    assert reached > 2.5
    assert len(set(clock.pauses)) > 6, "there is no jitter"


def test_progress_shortens_the_pauses_again(clock: Clock) -> None:
    attempts = Waiting(
        Retry(max_retries=50, init_backoff=1, max_backoff=1e3, retry_timeout=1e9), clock
    )
    for _ in range(40):
        attempts.failed(TimeoutError())
    attempts.failed(TimeoutError(), PROGRESS)
    assert clock.pauses[-1] <= 3.0 < max(clock.pauses)


def test_retry_after_is_waited_for_and_longer_if_the_pause_is(clock: Clock) -> None:
    attempts = Waiting(Retry(init_backoff=2, max_backoff=4), clock)
    attempts.failed(status(503, retry_after=60.0))
    attempts.failed(status(429, retry_after=0.5))
    assert clock.pauses[0] == 60.0
    assert 2 <= clock.pauses[1] <= 4


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(clock: Clock) -> None:
    verdict = Waiting(Retry(retry_timeout=10), clock).failed(status(503, retry_after=10.0))
    assert isinstance(verdict, BlobTimeoutError)
    assert verdict.retry_after == 10.0
    assert "after 10 s only; Retry(retry_timeout=...) allows it" in str(verdict)
    assert clock.pauses == []


def test_no_pause_goes_beyond_the_deadline_and_none_begins_after_it(clock: Clock) -> None:
    policy = Retry(max_retries=90, retry_timeout=10, init_backoff=3, max_backoff=9)
    attempts, began = Waiting(policy, clock), clock.now
    while (verdict := attempts.failed(TimeoutError())) is None:
        assert clock.now < began + 10
        clock.now += 0.5  # the attempt itself
    assert isinstance(verdict, BlobTimeoutError)
    assert "no progress within 10 s of the first failure" in str(verdict)
    assert clock.now < began + 10.5


def test_a_new_read_has_a_deadline_of_its_own(clock: Clock) -> None:
    attempts = Waiting(Retry(retry_timeout=10), clock)
    assert attempts.failed(TimeoutError()) is None
    clock.now += 1000
    attempts.begin_call()
    assert attempts.failed(TimeoutError()) is None


def test_a_timeout_without_end_is_none(clock: Clock) -> None:
    attempts = Waiting(Retry(retry_timeout=float("inf")), clock)
    assert attempts.failed(status(503, retry_after=1e5)) is None
    assert clock.pauses == [1e5]


def test_a_wait_ends_when_it_is_woken() -> None:
    attempts = Attempts(Retry(init_backoff=600, max_backoff=600, retry_timeout=1e9), "one", "", "")
    call = Call(lambda: attempts.failed(TimeoutError()))
    attempts.wake()
    assert call.outcome() is None


# ---- the bucket ----------------------------------------------------------------------------------


def test_what_is_dead_is_asked_a_hundred_times_by_all_streams_together(
    clock: Clock, bucket: TokenBucket
) -> None:
    verdicts: list[Exception | None] = []
    for _ in range(40):
        attempts = Waiting(Retry(), clock)
        verdicts += [attempts.failed(ConnectionRefusedError()) for _ in range(5)]
    assert verdicts.count(None) == 100
    last = verdicts[-1]
    assert isinstance(last, RetriesExhaustedError)
    assert "too many requests of this process have failed lately" in str(last)


def test_a_retry_that_succeeds_costs_nothing(clock: Clock, bucket: TokenBucket) -> None:
    for _ in range(300):
        attempts = Waiting(Retry(), clock)
        assert attempts.failed(TimeoutError()) is None
        attempts.succeeded()
    assert bucket.tokens == TokenBucket.capacity


def test_a_success_begins_a_new_row(clock: Clock) -> None:
    attempts = Waiting(Retry(max_retries=1), clock)
    for _ in range(9):
        assert attempts.failed(TimeoutError()) is None
        attempts.succeeded()


def test_a_success_gives_one_token_back_and_never_more_than_there_were() -> None:
    bucket = TokenBucket()
    bucket.give()
    assert bucket.tokens == 500
    assert bucket.take()
    bucket.give()
    assert bucket.tokens == 496
    bucket.give(100)
    assert bucket.tokens == 500


def test_tokens_are_counted_exactly_by_many_threads() -> None:
    bucket = TokenBucket()

    def spend() -> int:
        return sum(bucket.take() for _ in range(60))

    assert sum(int(str(count)) for count in together(*[spend] * 4)) == 100
    assert bucket.tokens == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_can_pay_although_the_lock_was_held_at_the_fork() -> None:
    from blobread.transfer import tokens

    with tokens.bucket._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if tokens.bucket.take() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- what is said --------------------------------------------------------------------------------


def test_the_first_retry_is_a_warning_and_later_ones_are_for_debugging(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "blobread")
    attempts = Waiting(Retry(), clock)
    attempts.failed(TimeoutError("slow"), at=77)
    attempts.failed(TimeoutError("slow"), PROGRESS)
    assert [(x.name, x.levelname) for x in caplog.records] == [
        ("blobread.transfer", "WARNING"),
        ("blobread.transfer", "DEBUG"),
    ]
    assert "from byte 77 on, after: TimeoutError: slow: '/shown'" in caplog.text


def test_no_secret_of_a_path_is_said(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "blobread")
    attempts = Waiting(Retry(max_retries=1), clock)
    attempts.failed(OSError("GET /secret/path broke"))
    verdict = attempts.failed(OSError("GET /secret/path broke"))
    assert "secret" not in f"{verdict} {verdict!r} {caplog.text}"
    assert "/shown" in str(verdict)


def test_a_verdict_says_name_and_path_once(clock: Clock) -> None:
    attempts = Waiting(Retry(max_retries=1), clock)
    error = BlobError("broke", driver="one", path="/shown")
    attempts.failed(error)
    verdict = attempts.failed(error)
    assert str(verdict) == (
        "one: gave up after 2 failures in a row; Retry(max_retries=...) allows more."
        " The last one: broke: '/shown'"
    )


def test_no_thread_is_left_by_an_alarm_that_does_not_ring() -> None:
    from blobread.transfer.alarm import Alarm

    rung: list[int] = []
    before = threading.active_count()
    with Alarm(float("inf"), lambda: rung.append(1)):
        pass
    assert threading.active_count() == before
    assert not rung
