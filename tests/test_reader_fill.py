"""How much a reader fetches: what was asked for, and more only as its reads run on or cluster."""

import random
from pathlib import Path

import pytest
from misbehaving import OneBlob, OneBlobOpened, Stream

import blobread
from blobread import BlobReader
from blobread.drivers.file import FileDriver

SIZE = 16 << 20
DATA = random.Random(10).randbytes(SIZE)
BLOCK = 16 << 10


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fill") / "blob"
    path.write_bytes(DATA)
    return path


def far_apart(seed: int, count: int) -> list[int]:
    """Places in random order, no two next to each other nearer than 1 MiB."""
    choose = random.Random(seed)
    places: list[int] = []
    last = -SIZE
    while len(places) < count:
        place = choose.randrange(SIZE - 64)
        if abs(place - last) > 1 << 20:
            places.append(place)
            last = place
    return places


# ---- lone reads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 64, 4096])
def test_lone_read_of_a_file_fetches_a_page_at_most(file: Path, size: int) -> None:
    with blobread.open(file) as f:
        for place in far_apart(1, 100):
            before = f.stats.bytes_fetched
            f.seek(place)
            assert f.read(size) == DATA[place : place + size]
            assert f.stats.bytes_fetched - before <= max(size, 4096)


@pytest.mark.parametrize("size", [1, 64, 4096, 20_000])
def test_lone_read_of_a_stream_fetches_a_block_of_16_to_64_kib(size: int) -> None:
    driver = OneBlob(DATA)
    with BlobReader(driver, "path") as f:
        for place in far_apart(2, 50):
            before = driver.fetched, len(driver.asked)
            f.seek(place)
            assert f.read(size) == DATA[place : place + size]
            assert len(driver.asked) == before[1] + 1
            _, length = driver.asked[-1]
            assert length is not None
            assert BLOCK <= min(length, driver.fetched - before[0]) <= 64 << 10
            assert length <= 64 << 10


def test_positional_read_fetches_what_was_asked_for(file: Path) -> None:
    driver = OneBlob(DATA)
    with BlobReader(driver, "path") as f, blobread.open(file) as local:
        for place in far_apart(3, 20):
            for reader in (f, local):
                assert reader.read_at(64, place) == DATA[place : place + 64]
                assert reader.readinto_at(bytearray(100_000), place) > 0
        expected = sum(64 + min(100_000, SIZE - place) for place in far_apart(3, 20))
        assert driver.fetched == f.stats.bytes_fetched == local.stats.bytes_fetched == expected


@pytest.mark.parametrize("size", [64 << 10, 1 << 20, 5_000_000])
def test_large_read_fetches_what_was_asked_for(file: Path, size: int) -> None:
    driver = OneBlob(DATA)
    with BlobReader(driver, "path") as f, blobread.open(file) as local:
        for reader in (f, local):
            for place in far_apart(4, 5):
                reader.seek(place)
                assert reader.read(size) == DATA[place : place + size]
        expected = sum(min(size, SIZE - place) for place in far_apart(4, 5))
        assert driver.fetched == local.stats.bytes_fetched == expected


# ---- reads that run on ---------------------------------------------------------------------------


def test_reads_of_a_file_that_run_on_take_few_preads(file: Path) -> None:
    with blobread.open(file) as f:
        for _ in range(40_000):
            f.read(100)
        assert f.stats.bytes_fetched <= 4_000_000 + (256 << 10)
        assert f.stats.requests <= 4_000_000 / (256 << 10) + 10


def test_reads_of_a_stream_that_run_on_take_few_requests() -> None:
    driver = OneBlob(DATA)
    with BlobReader(driver, "path") as f:
        for _ in range(100_000):
            f.read(100)
        # Each request is for as much again as all before: a logarithm of them, and little waste.
        assert len(driver.asked) <= 12
        assert driver.fetched <= 10_000_000 + (1 << 20)
        steps = sum(len(stream.asked) for stream in driver.streams)
        assert steps <= 10_000_000 / (256 << 10) + 20


@pytest.mark.parametrize("line", [20, 3000, 200_000])
def test_lines_that_run_on_take_few_requests(line: int) -> None:
    data = (bytes(line - 1) + b"\n") * (4_000_000 // line)
    driver = OneBlob(data)
    with BlobReader(driver, "path") as f:
        assert sum(len(got) for got in f) == len(data)
    assert len(driver.asked) <= 12
    assert driver.fetched == len(data)


def test_large_reads_of_a_stream_that_run_on_take_few_requests() -> None:
    driver = OneBlob(DATA)
    with BlobReader(driver, "path") as f:
        while f.read(100_000):
            pass
    assert len(driver.asked) <= 12
    assert driver.fetched == SIZE


def test_stream_that_came_with_the_creation_is_read_to_its_end_by_one_request() -> None:
    driver = OneBlobOpened(DATA)
    with BlobReader(driver, "path") as f:
        got = 0
        while got < driver.first:
            got += len(f.read(1000))
            assert len(driver.asked) <= 2
        assert driver.streams[0].at == driver.first


# ---- reads that cluster --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("step", [300, -300])
def test_reads_that_go_in_small_steps_are_served_from_the_buffer_mostly(
    kind: str, step: int, file: Path
) -> None:
    driver = OneBlob(DATA)
    with blobread.open(file) if kind == "file" else BlobReader(driver, "path") as f:
        for n in range(2000):
            place = SIZE // 2 + n * step
            f.seek(place)
            assert f.read(64) == DATA[place : place + 64]
        assert f.stats.requests <= 100


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_random_reads_in_a_small_part_are_served_from_the_buffer_mostly(
    kind: str, file: Path
) -> None:
    driver = OneBlob(DATA)
    choose = random.Random(11)
    with blobread.open(file) if kind == "file" else BlobReader(driver, "path") as f:
        for _ in range(2000):
            place = 5_000_000 + choose.randrange(30_000)
            f.seek(place)
            assert f.read(64) == DATA[place : place + 64]
        assert f.stats.requests <= 200


# ---- the bound -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [1, 100, 4096, 50_000])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_no_fill_is_larger_than_buffer_size(bound: int, kind: str, file: Path) -> None:
    driver: OneBlob | FileDriver = FileDriver() if kind == "file" else OneBlob(DATA)
    choose = random.Random(12)
    with BlobReader(driver, str(file), buffer_size=bound) as f:
        for n in range(3000):
            size = choose.choice([1, 7, 99])
            if n % 100 == 0:
                f.seek(choose.randrange(SIZE - 100_000))
            place, before = f.tell(), f.stats
            assert f.read(size) == DATA[place : place + size]
            after = f.stats
            steps = after.requests - before.requests if kind == "file" else 3
            most = max(bound, size) if steps <= 1 else max(bound, size) * steps
            assert after.bytes_fetched - before.bytes_fetched <= most
        assert len(f.peek()) <= bound
    if isinstance(driver, OneBlob):
        assert max(room for stream in driver.streams for room in stream.asked) <= max(bound, 99)


def test_auto_takes_the_size_that_the_driver_names() -> None:
    class Small(OneBlob):
        buffer_size = 5000

    driver = Small(DATA)
    with BlobReader(driver, "path") as f:
        for _ in range(1000):
            f.read(100)
    assert max(room for stream in driver.streams for room in stream.asked) == 5000


@pytest.mark.parametrize("size", [64 << 10, 256 << 10, 512 << 10, (256 << 10) + 1])
@pytest.mark.parametrize("step", [100, 4096, 64 << 10, 256 << 10, -1])
def test_nothing_is_asked_for_beyond_the_end(size: int, step: int) -> None:
    driver = OneBlob(DATA[:size])
    with BlobReader(driver, "path") as f:
        got = b""
        while part := f.read(step):
            got += part
        assert got == DATA[:size]
        choose = random.Random(13)
        for _ in range(300):
            place = choose.randrange(size)
            f.seek(place)
            assert f.read(200) == DATA[:size][place : place + 200]
            f.read_at(200, place)
    for offset, length in driver.asked:
        assert length is not None
        assert 0 <= offset < offset + length <= size


def test_window_is_never_larger_than_what_the_stream_was_opened_for() -> None:
    def behave(stream: Stream, buffer: memoryview) -> int:
        assert len(buffer) <= stream.stop - stream.at
        return stream.fill(buffer)

    with BlobReader(OneBlob(DATA, behave), "path") as f:
        for place in far_apart(5, 20):
            f.seek(place)
            for size in (100, 10_000, 200_000):
                at = f.tell()
                assert f.read(size) == DATA[at : at + size]
