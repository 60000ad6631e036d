"""Modules of the standard library that take an open binary file."""

import array
import codecs
import csv
import hashlib
import io
import json
import marshal
import pickle
import plistlib
import shutil
import tomllib
import wave
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from consumers.conftest import Store

ROWS = [[str(n), "a, b", 'say "so"', "two\nlines", "\u00e9\u4e2d" * (n % 50)] for n in range(5_000)]
RECORDS = [{"id": n, "name": "\u00e9" * (n % 40), "ratio": n / 7} for n in range(8_000)]


def test_text_of_many_encodings_is_read_by_lines(store: Store) -> None:
    lines = [f"{n} \u00e9\u4e2d\U0001f600\n" for n in range(20_000)]
    for encoding in ("utf-8", "utf-16", "utf-32", "utf-8-sig"):
        with (
            store.open("".join(lines).encode(encoding)) as blob,
            io.TextIOWrapper(blob, encoding, newline="\n") as file,
        ):
            assert list(file) == lines


def test_text_goes_on_where_tell_said(store: Store, text: bytes) -> None:
    with store.open(text) as blob, io.TextIOWrapper(blob, "ascii", newline="\n") as file:
        for _ in range(5_000):
            file.readline()
        place, rest = file.tell(), file.read()
        file.seek(0)
        assert file.read() == text.decode("ascii")
        file.seek(place)
        assert file.read() == rest


def test_csv_reads_rows_of_text(store: Store) -> None:
    written = io.StringIO(newline="")
    csv.writer(written).writerows(ROWS)
    with (
        store.open(written.getvalue().encode("utf-8")) as blob,
        io.TextIOWrapper(blob, "utf-8", newline="") as file,
    ):
        assert list(csv.reader(file)) == ROWS


def test_json_loads_a_document(store: Store) -> None:
    with store.open(json.dumps(RECORDS, ensure_ascii=False).encode()) as blob:
        assert json.load(blob) == RECORDS


def test_json_lines_are_loaded_one_by_one(store: Store) -> None:
    with store.open(b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)) as blob:
        assert [json.loads(line) for line in blob] == RECORDS


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_in_a_row_are_loaded_one_by_one(store: Store, noise: bytes, protocol: int) -> None:
    objects: list[object] = [RECORDS, bytearray(noise), "last"]
    with store.open(b"".join(pickle.dumps(one, protocol) for one in objects)) as blob:
        assert [pickle.load(blob) for _ in objects] == objects
        with pytest.raises(EOFError):
            pickle.load(blob)


def test_the_pickle_that_is_written_in_python_loads_too(store: Store) -> None:
    with store.open(pickle.dumps(RECORDS)) as blob:
        assert pickle._Unpickler(blob).load() == RECORDS


def test_marshal_loads_an_object(store: Store) -> None:
    with store.open(marshal.dumps(RECORDS)) as blob:
        assert marshal.load(blob) == RECORDS


@pytest.mark.parametrize("buffer_size", [1, 100, 8192, 3_000_000])
def test_a_buffered_reader_over_a_blob_gives_its_bytes(
    store: Store, noise: bytes, buffer_size: int
) -> None:
    blob: Any = store.open(noise[:300_000])
    with io.BufferedReader(blob, buffer_size) as file:
        assert file.read(5) == noise[:5]
        assert file.peek(1)[:1] == noise[5:6]
        assert file.seek(200_000) == 200_000
        assert file.read1(10) == noise[200_000:200_010]
        assert file.seek(-7, io.SEEK_END) == 299_993
        assert file.read() == noise[299_993:300_000]
        file.seek(0)
        assert file.read() == noise[:300_000]
    assert blob.closed


def test_copyfileobj_copies_all(store: Store, noise: bytes) -> None:
    copy = io.BytesIO()
    with store.open(noise) as blob:
        shutil.copyfileobj(blob, copy)
    assert copy.getvalue() == noise


def test_copyfileobj_copies_from_the_position_on(store: Store, noise: bytes) -> None:
    copy = io.BytesIO()
    with store.open(noise) as blob:
        blob.seek(123_456)
        shutil.copyfileobj(blob, copy, 4_097)
    assert copy.getvalue() == noise[123_456:]


def test_file_digest_is_that_of_the_bytes(store: Store, noise: bytes) -> None:
    with store.open(noise) as blob:
        assert hashlib.file_digest(blob, "sha256").digest() == hashlib.sha256(noise).digest()


def test_wave_reads_frames_and_rewinds(store: Store, noise: bytes) -> None:
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setparams((2, 2, 44_100, 0, "NONE", "not compressed"))
        sound.writeframes(noise[:400_000])
    with store.open(made.getvalue()) as blob, wave.open(blob, "rb") as played:
        assert (played.getnframes(), played.getframerate()) == (100_000, 44_100)
        assert played.readframes(100_000) == noise[:400_000]
        played.setpos(50_000)
        assert played.readframes(100) == noise[200_000:200_400]


def test_toml_and_plists_are_loaded(store: Store) -> None:
    with store.open(b'[tool]\nname = "\xc3\xa9"\n') as blob:
        assert tomllib.load(blob) == {"tool": {"name": "\u00e9"}}
    for kind in plistlib.PlistFormat:
        with store.open(plistlib.dumps({"records": RECORDS[:1_000]}, fmt=kind)) as blob:
            assert plistlib.load(blob) == {"records": RECORDS[:1_000]}


def test_elementtree_parses_at_once_and_step_by_step(store: Store) -> None:
    document = b"<all>" + b"".join(b'<one n="%d">text</one>' % n for n in range(20_000)) + b"</all>"
    numbers = [str(n) for n in range(20_000)]
    with store.open(document) as blob:
        assert [one.get("n") for one in ElementTree.parse(blob).iter("one")] == numbers
        blob.seek(0)
        steps = (one for _, one in ElementTree.iterparse(blob) if one.tag == "one")
        assert [one.get("n") for one in steps] == numbers


def test_array_takes_items_from_a_blob(store: Store, noise: bytes) -> None:
    items = array.array("d")
    with store.open(noise[:600_000]) as blob:
        items.fromfile(blob, 50_000)
        assert items.tobytes() == noise[:400_000]
        with pytest.raises(EOFError):
            items.fromfile(blob, 50_000)
    assert items.tobytes() == noise[:600_000]


def test_a_stream_reader_of_codecs_gives_the_text(store: Store) -> None:
    lines = [f"{n} \u4e2d\n" for n in range(5_000)]
    with store.open("".join(lines).encode("utf-8")) as blob:
        assert list(codecs.getreader("utf-8")(blob)) == lines
