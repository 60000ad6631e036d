"""Opens through the engine: what is asked again, and what is told at once."""

import pytest
from misbehaving import OneBlob, OneBlobOpened, Stream

from blobread import BlobError, BlobInfo, BlobReader, BlobTimeoutError, PathNotFoundError, Retry
from blobread.transfer.engine import Engine

DATA = bytes(range(200)) * 1000
AT_ONCE = Retry(max_retries=3, init_backoff=0, max_backoff=0)


class Refusing(OneBlobOpened):
    """One whose next openings fail, each with one of `refusals`."""

    def __init__(self, *refusals: Exception) -> None:
        super().__init__(DATA)
        self.refusals = list(refusals)
        self.opens = 0

    def open(self, path: str, /) -> tuple[BlobInfo, Stream]:
        self.opens += 1
        if self.refusals:
            raise self.refusals.pop(0)
        return super().open(path)


def busy() -> BlobError:
    return BlobError("busy", status=503)


def test_open_that_a_busy_server_refuses_is_tried_again() -> None:
    driver = Refusing(busy(), busy())
    with BlobReader(Engine(driver, retry=AT_ONCE), "path") as f:
        assert f.read() == DATA
        assert f.stats.retries == 2


def test_open_that_is_refused_again_and_again_is_the_last_refusal() -> None:
    driver = Refusing(*(busy() for _ in range(10)))
    with pytest.raises(BlobError, match="busy") as caught:
        BlobReader(Engine(driver, retry=AT_ONCE), "path")
    assert caught.value.status == 503
    assert driver.opens == 4


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "nobody is there"),
        PathNotFoundError("no such blob"),
        BlobError("told to wait for long", status=503, retry_after=60),
    ],
    ids=["refused", "missing", "later"],
)
def test_open_that_cannot_soon_succeed_is_not_tried_again(error: OSError) -> None:
    driver = Refusing(error, error)
    with pytest.raises(type(error)):
        BlobReader(Engine(driver, retry=AT_ONCE), "path")
    assert driver.opens == 1


def test_open_that_took_long_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blobread.transfer.engine._QUICK", -1)
    driver = Refusing(BlobTimeoutError("no answer"))
    with pytest.raises(BlobTimeoutError):
        BlobReader(Engine(driver, retry=AT_ONCE), "path")
    assert driver.opens == 1


def test_open_is_tried_once_without_retries() -> None:
    driver = Refusing(busy())
    with pytest.raises(BlobError, match="busy"):
        BlobReader(Engine(driver, retry=False), "path")
    assert driver.opens == 1


def test_stat_of_a_driver_without_open_is_tried_again() -> None:
    class Stating(OneBlob):
        def stat(self, path: str, /) -> BlobInfo:
            self.stats += 1
            if self.stats == 1:
                raise busy()
            return super().stat(path)

    with BlobReader(Engine(Stating(DATA), retry=AT_ONCE), "path") as f:
        assert f.read() == DATA
