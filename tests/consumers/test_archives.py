"""zipfile and tarfile."""

import functools
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consumers.conftest import Store


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


def tar_of(members: dict[str, bytes], compression: str = "") -> bytes:
    made = io.BytesIO()
    # Some overloads of open() know only their own modes.
    mode: Any = f"w:{compression}"
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


@pytest.fixture(scope="module")
def members(noise: bytes, text: bytes) -> dict[str, bytes]:
    small = {f"small/{n}": b"%d\n" % n * n for n in range(200)}
    return {"noise": noise, "empty": b"", **small, "text": text}


@pytest.fixture(scope="module")
def tar(members: dict[str, bytes]) -> Callable[[str], bytes]:
    """By compression."""
    return functools.cache(lambda compression: tar_of(members, compression))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zipfile_reads_all_members(store: Store, members: dict[str, bytes], method: int) -> None:
    with store.open(zip_of(members, method)) as blob, zipfile.ZipFile(blob) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == members
        assert archive.testzip() is None


def test_zipfile_reads_members_backwards_in_small_pieces(
    store: Store, members: dict[str, bytes]
) -> None:
    with store.open(zip_of(members)) as blob, zipfile.ZipFile(blob) as archive:
        for name in reversed(archive.namelist()):
            with archive.open(name) as member:
                pieces = list(iter(functools.partial(member.read, 4_099), b""))
            assert b"".join(pieces) == members[name]


def test_two_members_of_a_zip_are_read_alternately(store: Store, noise: bytes) -> None:
    archived = zip_of({"a": noise, "b": noise[::-1]})
    with (
        store.open(archived) as blob,
        zipfile.ZipFile(blob) as archive,
        archive.open("a") as a,
        archive.open("b") as b,
    ):
        read = [(a.read(50_000), b.read(50_000)) for _ in range(13)]
    assert b"".join(piece for piece, _ in read) == noise
    assert b"".join(piece for _, piece in read) == noise[::-1]


def test_zipfile_reads_a_zip64_behind_other_bytes(store: Store, noise: bytes) -> None:
    made = io.BytesIO(b"#!/bin/sh\n")
    with (
        zipfile.ZipFile(made, "a") as archive,
        archive.open("noise", "w", force_zip64=True) as member,
    ):
        member.write(noise)
    with store.open(made.getvalue()) as blob, zipfile.ZipFile(blob) as read:
        assert read.read("noise") == noise


@pytest.fixture(scope="module")
def zip_of_65600() -> bytes:
    """More members than 65535 need the end record of ZIP64."""
    return zip_of({f"{n:05}": b"" for n in range(65_600)})


def test_a_directory_of_a_zip_with_65600_members_is_read(store: Store, zip_of_65600: bytes) -> None:
    with store.open(zip_of_65600) as blob, zipfile.ZipFile(blob) as archive:
        assert archive.namelist() == [f"{n:05}" for n in range(65_600)]


def test_one_member_of_a_zip_on_the_web_costs_few_requests(web: Store, noise: bytes) -> None:
    archived = zip_of({"before": noise * 6, "wanted": b"this", "behind": noise * 6})
    with web.open(archived) as blob:
        with zipfile.ZipFile(blob) as archive:
            assert archive.read("wanted") == b"this"
        assert blob.stats.requests <= 6
        assert blob.stats.bytes_fetched < 600_000


@pytest.mark.parametrize("mode", ["r:", "r:gz", "r:xz"])
def test_tarfile_reads_members_in_any_order(
    store: Store, members: dict[str, bytes], tar: Callable[[str], bytes], mode: Any
) -> None:
    with store.open(tar(mode[2:])) as blob, tarfile.open(fileobj=blob, mode=mode) as archive:
        names = archive.getnames()
        assert names == list(members)
        # Backwards in a compressed archive is decompressing all of it for each member.
        for name in names if mode == "r:" else ["text", "noise", "empty"]:
            assert contents(archive, name) == members[name]


@pytest.mark.parametrize("mode", ["r|", "r|gz", "r|xz"])
def test_tarfile_streams_members(
    store: Store, members: dict[str, bytes], tar: Callable[[str], bytes], mode: Any
) -> None:
    with store.open(tar(mode[2:])) as blob, tarfile.open(fileobj=blob, mode=mode) as archive:
        assert {member.name: contents(archive, member) for member in archive} == members


def test_tarfile_finds_the_compression_by_itself(
    store: Store, members: dict[str, bytes], tar: Callable[[str], bytes]
) -> None:
    with store.open(tar("gz")) as blob, tarfile.open(fileobj=blob) as archive:
        assert archive.getnames() == list(members)


def contents(archive: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    with file:
        return file.read()


def samples(archive: tarfile.TarFile) -> Iterator[dict[str, bytes]]:
    """Group the members that share a stem, as webdataset does."""
    sample: dict[str, bytes] = {}
    for member in archive:
        stem, _, kind = member.name.partition(".")
        if sample and sample["key"] != stem.encode():
            yield sample
            sample = {}
        sample |= {"key": stem.encode(), kind: contents(archive, member)}
        archive.members = []  # type: ignore[attr-defined]
    yield sample


def test_a_shard_is_streamed_sample_by_sample_in_one_pass(web: Store, noise: bytes) -> None:
    shard = {}
    for n in range(300):
        shard[f"{n:06}.jpg"] = noise[n * 1_900 : n * 2_000 + n]
        shard[f"{n:06}.cls"] = b"%d" % n
    archived = tar_of(shard)
    with web.open(archived) as blob:
        with tarfile.open(fileobj=blob, mode="r|") as archive:
            read = list(samples(archive))
        assert blob.stats.bytes_fetched == len(archived)
        assert blob.stats.requests <= 8
    assert [(s["key"], s["jpg"], s["cls"]) for s in read] == [
        (b"%06d" % n, shard[f"{n:06}.jpg"], shard[f"{n:06}.cls"]) for n in range(300)
    ]
