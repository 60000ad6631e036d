"""Parquet: the chunks of columns are brought side by side, before they are read in turn."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._reader import BlobReader
from .errors import MissingDependencyError

if TYPE_CHECKING:
    from pyarrow.parquet import ColumnChunkMetaData, FileMetaData

__all__ = ["prefetch"]


def prefetch(
    f: BlobReader,
    columns: Iterable[str] | None = None,
    *,
    row_groups: Iterable[int] | None = None,
) -> "FileMetaData":
    """Begin to fetch the column chunks that are about to be read from a Parquet file.

    A library that is given a Python file reads one chunk after the other; pyarrow even locks it.
    After this call the chunks are on their way by parallel requests, and its reads are served from
    memory. What the memory budget has no room for is read as without this call, so for a large
    file go through it with `row_groups`, one or a few ahead of what is being read.

    Parameters
    ----------
    f : BlobReader
        At any position, which stays.
    columns : iterable of str, optional
        As `pyarrow.parquet.ParquetFile.read` takes them: a name, or the path of a nested column,
        or the beginning of it (``"a"`` is all of ``"a.b"`` and ``"a.list.element"``). None: all.
    row_groups : iterable of int, optional
        Indices from 0 on. None: all.

    Returns
    -------
    pyarrow.parquet.FileMetaData
        The footer: hand it to ``ParquetFile(f, metadata=...)``, and it is not read again.

    Raises
    ------
    ValueError
        If there is no column of a name; or `f` is closed.
    IndexError
        If there is no row group of a number.
    pyarrow.ArrowInvalid
        If the blob is no Parquet file.
    OSError
        If the footer cannot be read. An error of a chunk is raised by who reads it.
    MissingDependencyError
        Without pyarrow.
    """
    try:
        from pyarrow.parquet import read_metadata
    except ImportError as error:
        raise MissingDependencyError(
            "prefetching of Parquet needs pyarrow: pip install 'blobread[parquet]'"
        ) from error

    position = f.tell()
    try:
        metadata = read_metadata(f)
    finally:
        f.seek(position)
    groups = range(metadata.num_row_groups) if row_groups is None else list(row_groups)
    places = _places(metadata, columns)
    chunks = [
        _extent(metadata.row_group(_checked(group, metadata)).column(place))
        for group in groups
        for place in places
    ]
    f.prefetch([offset for offset, _ in chunks], [size for _, size in chunks])
    return metadata


def _places(metadata: "FileMetaData", columns: Iterable[str] | None) -> "list[int]":
    """Where in each row group the chunks of `columns` stand."""
    paths = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    if columns is None:
        return list(range(len(paths)))
    if isinstance(columns, str):
        raise TypeError("columns must be an iterable of names, not one str")
    found: set[int] = set()
    for name in columns:
        of_name = [place for place, path in enumerate(paths) if f"{path}.".startswith(f"{name}.")]
        if not of_name:
            raise ValueError(f"there is no column {name!r} in this Parquet file")
        found.update(of_name)
    return sorted(found)


def _checked(group: int, metadata: "FileMetaData") -> int:
    if not 0 <= group < metadata.num_row_groups:
        raise IndexError(f"there is no row group {group} of {metadata.num_row_groups}")
    return group


def _extent(chunk: "ColumnChunkMetaData") -> tuple[int, int]:
    """Offset and bytes of a column chunk: its dictionary comes before its data, where it has one.

    As ``ComputeColumnChunkRange`` of Arrow C++ has it: some writers give 0 for no dictionary.
    """
    start = chunk.data_page_offset
    dictionary = chunk.dictionary_page_offset
    if dictionary and dictionary < start:
        start = dictionary
    return start, chunk.total_compressed_size
