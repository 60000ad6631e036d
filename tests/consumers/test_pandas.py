"""pandas."""

import gzip
import io
from typing import Any

import numpy as np
import pytest

from consumers.conftest import Store

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow", reason="pandas reads Parquet with pyarrow")


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """At its first CSV in a process, pyarrow opens a pipe by which it hears of Ctrl-C."""
    pd.read_csv(io.BytesIO(b"a\n1\n"), engine="pyarrow")


@pytest.fixture(scope="module")
def frame() -> Any:
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "id": np.arange(20_000),
            "noise": random.random(20_000),
            "name": [f"{n:x}" * 3 for n in range(20_000)],
        }
    )


@pytest.fixture(scope="module")
def lines(frame: Any) -> bytes:
    text: str = frame.to_csv(index=False)
    return text.encode()


@pytest.mark.parametrize("engine", ["c", "python", "pyarrow"])
def test_read_csv_gives_the_frame(store: Store, frame: Any, lines: bytes, engine: Any) -> None:
    with store.open(lines) as blob:
        pd.testing.assert_frame_equal(pd.read_csv(blob, engine=engine), frame)


def test_read_csv_gives_the_frame_in_chunks(store: Store, frame: Any, lines: bytes) -> None:
    with store.open(lines) as blob, pd.read_csv(blob, chunksize=3_000) as chunks:
        pd.testing.assert_frame_equal(pd.concat(chunks), frame)


def test_read_csv_decompresses_a_blob(store: Store, frame: Any, lines: bytes) -> None:
    with store.open(gzip.compress(lines)) as blob:
        read = pd.read_csv(blob, compression="gzip")
    pd.testing.assert_frame_equal(read, frame)


def test_read_parquet_gives_the_frame(store: Store, frame: Any) -> None:
    made = io.BytesIO()
    frame.to_parquet(made)
    with store.open(made.getvalue()) as blob:
        pd.testing.assert_frame_equal(pd.read_parquet(blob), frame)
        pd.testing.assert_frame_equal(pd.read_parquet(blob, columns=["id"]), frame[["id"]])


def test_read_pickle_and_read_json_give_the_frame(store: Store, frame: Any) -> None:
    made = io.BytesIO()
    frame.to_pickle(made)
    with store.open(made.getvalue()) as blob:
        pd.testing.assert_frame_equal(pd.read_pickle(blob), frame)
    with store.open(frame.to_json(orient="records", lines=True).encode()) as blob:
        read = pd.read_json(blob, orient="records", lines=True, precise_float=True)
    pd.testing.assert_frame_equal(read, frame, rtol=1e-9)
