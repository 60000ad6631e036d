"""pyarrow."""

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from together import wait_until

from blobread import MissingDependencyError
from blobread.parquet import prefetch
from consumers.conftest import Store

pa = pytest.importorskip("pyarrow")
feather = pytest.importorskip("pyarrow.feather")
parquet = pytest.importorskip("pyarrow.parquet")
arrow_csv = pytest.importorskip("pyarrow.csv")
arrow_json = pytest.importorskip("pyarrow.json")

ROWS = 60_000
ROW_GROUP = 10_000


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """At its first CSV in a process, pyarrow opens a pipe by which it hears of Ctrl-C."""
    arrow_csv.read_csv(io.BytesIO(b"a\n1\n"))


@pytest.fixture(scope="module")
def table() -> Any:
    random = np.random.default_rng(3)
    columns = {
        "id": np.arange(ROWS),
        "noise": random.random(ROWS),
        "name": [f"{n:x}" * (n % 4) for n in range(ROWS)],
        "list": [[n, -n] if n % 3 else None for n in range(ROWS)],
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def parquet_file(table: Any) -> bytes:
    made = io.BytesIO()
    parquet.write_table(table, made, row_group_size=ROW_GROUP)
    return made.getvalue()


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_feather_is_read_whole_and_by_columns(store: Store, table: Any, compression: str) -> None:
    made = io.BytesIO()
    feather.write_feather(table, made, compression=compression, chunksize=7_000)
    with store.open(made.getvalue()) as blob:
        assert feather.read_table(blob).equals(table)
        assert feather.read_table(blob, columns=["name"]).equals(table.select(["name"]))


def test_an_ipc_file_is_read_by_batches_in_any_order(store: Store, table: Any) -> None:
    made = io.BytesIO()
    with pa.ipc.new_file(made, table.schema) as writer:
        writer.write_table(table, max_chunksize=9_000)
    with store.open(made.getvalue()) as blob, pa.ipc.open_file(blob) as reader:
        for n in reversed(range(reader.num_record_batches)):
            assert reader.get_batch(n).equals(table.slice(n * 9_000, 9_000).to_batches()[0])


def test_an_ipc_stream_is_read_to_its_end(store: Store, table: Any) -> None:
    made = io.BytesIO()
    with pa.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table, max_chunksize=9_000)
    with store.open(made.getvalue()) as blob, pa.ipc.open_stream(blob) as reader:
        assert reader.read_all().equals(table)


@pytest.mark.parametrize("pre_buffer", [False, True])
def test_parquet_is_read_whole(
    store: Store, table: Any, parquet_file: bytes, pre_buffer: bool
) -> None:
    with store.open(parquet_file) as blob:
        assert parquet.read_table(blob, pre_buffer=pre_buffer).equals(table)


def test_parquet_is_read_by_row_groups_and_columns(
    store: Store, table: Any, parquet_file: bytes
) -> None:
    with store.open(parquet_file) as blob, parquet.ParquetFile(blob) as file:
        assert file.num_row_groups == ROWS // ROW_GROUP
        for n in (4, 0, 5):
            expected = table.slice(n * ROW_GROUP, ROW_GROUP)
            assert file.read_row_group(n).equals(expected)
            columns = ["list", "id"]
            assert file.read_row_group(n, columns=columns).equals(expected.select(columns))


def test_row_groups_are_read_side_by_side_from_one_blob(
    store: Store, table: Any, parquet_file: bytes
) -> None:
    # Its own read-ahead of one file is not for many threads: it may not find what another one took.
    with store.open(parquet_file) as blob, parquet.ParquetFile(blob, pre_buffer=False) as file:
        with ThreadPoolExecutor(4) as pool:
            groups = list(pool.map(file.read_row_group, range(file.num_row_groups)))
        assert pa.concat_tables(groups).equals(table)


def test_parquet_is_filtered_while_it_is_read(
    store: Store, table: Any, parquet_file: bytes
) -> None:
    with store.open(parquet_file) as blob:
        found = parquet.read_table(blob, filters=[("id", ">=", 25_000), ("id", "<", 25_010)])
    assert found.equals(table.slice(25_000, 10))


def test_the_footer_of_a_parquet_file_on_the_web_costs_no_data(
    web: Store, parquet_file: bytes
) -> None:
    with web.open(parquet_file) as blob:
        with parquet.ParquetFile(blob) as file:
            assert file.metadata.num_rows == ROWS
        assert blob.stats.requests <= 3
        assert blob.stats.bytes_fetched < len(parquet_file) // 2


@pytest.mark.parametrize("columns", [None, ["name"], ["list", "id"], ["list.list"]], ids=repr)
def test_prefetched_columns_are_read_as_others_are(
    store: Store, table: Any, parquet_file: bytes, columns: list[str] | None
) -> None:
    with store.open(parquet_file) as blob:
        blob.seek(7)
        metadata = prefetch(blob, columns)
        assert blob.tell() == 7
        with parquet.ParquetFile(blob, metadata=metadata) as file:
            found = file.read(columns=columns)
    assert found.equals(
        table.select([name.split(".")[0] for name in columns or table.schema.names])
    )


@pytest.mark.parametrize("pre_buffer", [False, True])
def test_prefetched_columns_cost_no_request_when_they_are_read(
    web: Store, table: Any, pre_buffer: bool
) -> None:
    few = table.append_column("few", [[n % 7 for n in range(ROWS)]])  # has dictionaries
    made = io.BytesIO()
    parquet.write_table(few, made, row_group_size=ROW_GROUP)
    columns = ["few", "list"]
    with web.open(made.getvalue()) as blob:
        metadata = prefetch(blob, iter(columns))
        held = blob.driver._blob._cursors.held  # type: ignore[attr-defined]
        wait_until(lambda: not any(part.is_running for part in held))
        asked = blob.stats.requests
        with parquet.ParquetFile(blob, metadata=metadata, pre_buffer=pre_buffer) as file:
            assert file.read(columns=columns).equals(few.select(columns))
        assert blob.stats.requests == asked


def test_only_the_row_groups_asked_for_are_prefetched(web: Store, noise: bytes) -> None:
    made = io.BytesIO()
    parquet.write_table(
        pa.table({"noise": np.frombuffer(noise[:600_000], np.int64)}),
        made,
        row_group_size=25_000,
        use_dictionary=False,
        compression="none",
    )
    with web.open(made.getvalue()) as blob:
        metadata = prefetch(blob, row_groups=[2])
        with parquet.ParquetFile(blob, metadata=metadata) as file:
            assert file.read_row_group(2).num_rows == 25_000
        assert blob.stats.bytes_fetched < len(made.getvalue()) - 100_000


def test_what_cannot_be_prefetched_is_named(store: Store, parquet_file: bytes) -> None:
    with store.open(parquet_file) as blob:
        with pytest.raises(ValueError, match="no column 'nam'"):
            prefetch(blob, ["name", "nam"])
        with pytest.raises(TypeError, match="one str"):
            prefetch(blob, "name")
        for group in (-1, ROWS // ROW_GROUP):
            with pytest.raises(IndexError, match=f"no row group {group} of 6"):
                prefetch(blob, row_groups=[group])
    with pytest.raises(ValueError, match="closed"):
        prefetch(blob)


def test_prefetching_of_what_is_no_parquet_file_is_an_error_of_arrow(store: Store) -> None:
    with store.open(b"not Parquet at all") as blob, pytest.raises(pa.ArrowInvalid):
        prefetch(blob)


def test_without_pyarrow_prefetching_says_what_to_install(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with store.open(b"") as blob, pytest.raises(MissingDependencyError, match=r"blobread\[parquet"):
        prefetch(blob)


def test_a_python_file_of_arrow_gives_the_bytes(store: Store, noise: bytes) -> None:
    with store.open(noise) as blob, pa.PythonFile(blob, mode="r") as file:
        assert file.size() == len(noise)
        assert file.read_at(1_000, 300_000) == noise[300_000:301_000]
        file.seek(-10, io.SEEK_END)
        assert file.read() == noise[-10:]
        file.seek(0)
        assert file.read_buffer(500_000).to_pybytes() == noise[:500_000]
        room = bytearray(1_000)
        assert file.readinto(room) == 1_000
        assert room == noise[500_000:501_000]


def test_an_input_stream_of_arrow_decompresses_a_blob(store: Store, text: bytes) -> None:
    packed = pa.compress(text, "gzip", asbytes=True)
    with store.open(packed) as blob, pa.input_stream(blob, compression="gzip") as stream:
        assert stream.read() == text


def test_arrow_reads_csv_and_json(store: Store, table: Any) -> None:
    plain = table.select(["id", "noise"]).slice(0, 20_000)
    made = io.BytesIO()
    arrow_csv.write_csv(plain, made)
    with store.open(made.getvalue()) as blob:
        assert arrow_csv.read_csv(blob).equals(plain)
    lines = [json.dumps(row) for row in plain.to_pylist()]
    with store.open("\n".join(lines).encode()) as blob:
        assert arrow_json.read_json(blob).equals(plain)


def test_a_parquet_file_that_is_cut_off_is_an_error(store: Store, parquet_file: bytes) -> None:
    with store.open(parquet_file[:-5]) as blob, pytest.raises(pa.ArrowInvalid):
        parquet.read_table(blob)
