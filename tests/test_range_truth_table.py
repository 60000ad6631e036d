"""What the http driver makes of each status with each Content-Range: 288 answers, and 36 to open.

The expected words were written by hand, from what RFC 9110 and the driver promise; nothing here
computes them.
"""

from dataclasses import dataclass, replace

import pytest
from faults import EVER, Blob, Fault, FaultServer, difference
from streams import ByPart, read_all

from blobread.driver import BlobInfo
from blobread.drivers.http import HttpDriver
from blobread.errors import BlobChangedError, BlobError, ProtocolError

BLOB = Blob(1000)
LENGTH = 300  # asked for at either offset

# What a cell says: the right bytes, all of them; or the error, of that very class.
ERRORS = {ProtocolError: "protocol", BlobChangedError: "changed", BlobError: "refused"}

# The columns: the offset; whether the version is that of an open before; whether the size is
# known. The last one is what `HttpDriver.open` makes of the answer.
TABLE = """
                offset 0                            offset 400
                no version        version           no version        version
                size ?   size     size ?   size     size ?   size     size ?   size     open
206 absent      protocol protocol protocol protocol protocol protocol protocol protocol protocol
206 right       same     same     same     same     same     same     same     same     same
206 wrong-start protocol protocol protocol protocol protocol protocol protocol protocol protocol
206 wrong-end   protocol protocol protocol protocol protocol protocol protocol protocol protocol
206 wrong-total same     changed  same     changed  same     changed  same     changed  same
206 any-total   protocol same     protocol same     protocol same     protocol same     same
206 twice       protocol protocol protocol protocol protocol protocol protocol protocol protocol
206 garbage     protocol protocol protocol protocol protocol protocol protocol protocol protocol
206 other-unit  protocol protocol protocol protocol protocol protocol protocol protocol protocol
200 absent      same     same     same     same     same     same     same     same     same
200 right       same     same     same     same     same     same     same     same     same
200 wrong-start protocol protocol protocol protocol protocol protocol protocol protocol protocol
200 wrong-end   protocol protocol protocol protocol protocol protocol protocol protocol protocol
200 wrong-total protocol protocol protocol protocol protocol protocol protocol protocol protocol
200 any-total   protocol protocol protocol protocol protocol protocol protocol protocol protocol
200 twice       protocol protocol protocol protocol protocol protocol protocol protocol protocol
200 garbage     protocol protocol protocol protocol protocol protocol protocol protocol protocol
200 other-unit  protocol protocol protocol protocol protocol protocol protocol protocol protocol
416 absent      protocol protocol protocol protocol protocol protocol protocol protocol protocol
416 right       protocol protocol protocol protocol protocol protocol protocol protocol protocol
416 wrong-start protocol protocol protocol protocol protocol protocol protocol protocol protocol
416 wrong-end   protocol protocol protocol protocol protocol protocol protocol protocol protocol
416 wrong-total protocol changed  protocol changed  protocol changed  protocol changed  protocol
416 any-total   protocol protocol protocol protocol protocol protocol protocol protocol protocol
416 twice       protocol protocol protocol protocol protocol protocol protocol protocol protocol
416 garbage     protocol protocol protocol protocol protocol protocol protocol protocol protocol
416 other-unit  protocol protocol protocol protocol protocol protocol protocol protocol protocol
400 absent      refused  refused  refused  refused  refused  refused  refused  refused  refused
400 right       refused  refused  refused  refused  refused  refused  refused  refused  refused
400 wrong-start refused  refused  refused  refused  refused  refused  refused  refused  refused
400 wrong-end   refused  refused  refused  refused  refused  refused  refused  refused  refused
400 wrong-total refused  refused  refused  refused  refused  refused  refused  refused  refused
400 any-total   refused  refused  refused  refused  refused  refused  refused  refused  refused
400 twice       refused  refused  refused  refused  refused  refused  refused  refused  refused
400 garbage     refused  refused  refused  refused  refused  refused  refused  refused  refused
400 other-unit  refused  refused  refused  refused  refused  refused  refused  refused  refused
"""

COLUMNS = [
    (offset, versioned, sized)
    for offset in (0, 400)
    for versioned in (False, True)
    for sized in (False, True)
]


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer, to one way of asking, and the word for what shall come of it."""

    status: int
    form: str
    offset: int
    versioned: bool
    sized: bool
    expected: str

    def __str__(self) -> str:
        version = "version" if self.versioned else "no-version"
        size = "size" if self.sized else "no-size"
        return f"{self.status}-{self.form}-at-{self.offset}-{version}-{size}"


ROWS = [line.split() for line in TABLE.splitlines()[4:]]
CELLS = [
    Cell(int(status), form, *column, word)
    for status, form, *words in ROWS
    for column, word in zip(COLUMNS, words[:8], strict=True)
]


# What the forms are: of the bytes `first` to `last`; `later` and `beyond` are 8 bytes on.
SAYS: dict[str, tuple[str, ...]] = {
    "absent": (),
    "right": ("bytes {first}-{last}/1000",),
    "wrong-start": ("bytes {later}-{last}/1000",),
    "wrong-end": ("bytes {first}-{beyond}/1000",),
    "wrong-total": ("bytes {first}-{last}/1001",),
    "any-total": ("bytes {first}-{last}/*",),
    "twice": ("bytes {first}-{last}/1000", "bytes {first}-{last}/1000"),
    "garbage": ("bytes some of it",),
    "other-unit": ("items {first}-{last}/1000",),
}
# Of a 416, those that have a sense there.
SAYS_416 = SAYS | {
    "right": ("bytes */1000",),
    "wrong-total": ("bytes */1001",),
    "any-total": ("bytes */*",),
    "twice": ("bytes */1000", "bytes */1000"),
    "other-unit": ("items */1000",),
}


def answer(status: int, form: str, first: int, last: int) -> Fault:
    """The answer of a row, to ``bytes=first-last``: a 206 sends the bytes that it says."""
    start = stop = 0
    if status == 206:
        start = first + 8 if form == "wrong-start" else first
        stop = last + 9 if form == "wrong-end" else last + 1
    elif status == 200:
        first, last, stop = 0, 999, 1000
    forms = SAYS_416 if status == 416 else SAYS
    says = [x.format(first=first, last=last, later=first + 8, beyond=last + 8) for x in forms[form]]
    return Fault(
        "labelled", code=status, content_range=tuple(says), start=start, stop=stop, times=EVER
    )


def word(error: BlobError) -> str:
    return ERRORS.get(type(error), repr(error))


def test_the_table_is_whole() -> None:
    assert len(CELLS) == len({str(cell) for cell in CELLS}) == 288
    assert {len(row) for row in ROWS} == {11}


@pytest.mark.parametrize("driver_class", [HttpDriver, ByPart])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_answer_to_a_range(
    fault_server: FaultServer, cell: Cell, driver_class: type[HttpDriver]
) -> None:
    driver, case = driver_class(proxy=None), fault_server.case(BLOB)
    pin: BlobInfo | None = None
    if cell.versioned:
        pin = driver.stat(case.url)
        pin = pin if cell.sized else replace(pin, size=None)
    elif cell.sized:
        pin = BlobInfo(case.url, size=1000)
    asked_before = len(case.ledger.requests)
    fault = answer(cell.status, cell.form, cell.offset, cell.offset + LENGTH - 1)
    case.add(fault)
    try:
        data = read_all(driver.read_stream(case.url, cell.offset, LENGTH, pin=pin))
    except BlobError as error:
        outcome = word(error)
        assert error.status == cell.status or outcome == "protocol"
    else:
        outcome = difference(BLOB, cell.offset, data) or "same"
        assert len(data) == LENGTH
    assert outcome == cell.expected
    # Every answer was that of the cell; a refused If-Match is asked for once more, without it.
    served = case.ledger.count(fault)
    assert served == len(case.ledger.requests) - asked_before
    assert served == (2 if cell.status == 400 and cell.versioned else 1)


@pytest.mark.parametrize(
    ("status", "form", "expected"), [(int(row[0]), row[1], row[10]) for row in ROWS]
)
def test_answer_to_open(fault_server: FaultServer, status: int, form: str, expected: str) -> None:
    case = fault_server.case(BLOB)
    fault = answer(status, form, 0, 999)
    fault.when = replace(fault.when, method="GET")
    case.add(fault)
    try:
        info, stream = HttpDriver(proxy=None).open(case.url)
        data = read_all(stream)
    except BlobError as error:
        outcome = word(error)
    else:
        outcome = difference(BLOB, 0, data) or "same"
        assert len(data) == 1000
        assert info.size == (1001 if (status, form) == (206, "wrong-total") else 1000)
    assert outcome == expected
    assert case.ledger.count(fault) == 1


@pytest.mark.parametrize("delta", [-400, -8, -1, 1, 8, 299])
@pytest.mark.parametrize(
    "framing",
    [(), (Fault("chunked"),), (Fault("content_length", values=()),)],
    ids=["length", "chunks", "no-length"],
)
def test_a_wrong_start_is_refused_whatever_the_length_says(
    fault_server: FaultServer, framing: tuple[Fault, ...], delta: int
) -> None:
    # A Content-Length would give a wrong start away by itself.
    start, stop = 400 + delta, min(400 + delta + LENGTH, 400 + LENGTH)
    says = (f"bytes {start}-{stop - 1}/1000",)
    wrong = Fault("labelled", code=206, content_range=says, start=start, stop=stop)
    case = fault_server.case(BLOB, wrong, *framing)
    with pytest.raises(ProtocolError):
        read_all(HttpDriver(proxy=None).read_stream(case.url, 400, LENGTH))


@pytest.mark.parametrize("offset", [0, 100, 400])
@pytest.mark.parametrize("says", ["bytes {0}-{1}/1000", "bytes {0}-{1}/*"])
@pytest.mark.parametrize("form", ["read_stream", "open"])
def test_a_range_that_is_sent_as_200_is_not_taken_for_the_whole_blob(
    fault_server: FaultServer, offset: int, says: str, form: str
) -> None:
    # Some servers send the right range and Content-Range, under the wrong status.
    last = offset + LENGTH - 1
    case = fault_server.case(BLOB)
    case.add(
        Fault(
            "labelled",
            code=200,
            content_range=(says.format(offset, last),),
            start=offset,
            stop=last + 1,
        )
    )
    driver = HttpDriver(proxy=None)
    with pytest.raises(ProtocolError):
        if form == "open":
            driver.open(case.url)[1].close()
        else:
            driver.read_stream(case.url, offset, LENGTH).close()


@pytest.mark.parametrize("hidden", [-400, -8, -1, 1, 8, 300])
def test_a_shift_that_the_head_hides_is_seen_in_the_bytes(
    fault_server: FaultServer, hidden: int
) -> None:
    # No client can notice it without a digest. It proves that these tests would.
    case = fault_server.case(BLOB, Fault("shifted", delta=hidden, admitted=False))
    data = read_all(HttpDriver(proxy=None).read_stream(case.url, 400, LENGTH))
    found = f"from offset 400 on: these are the bytes of version 1 at offset {400 + hidden}"
    assert difference(BLOB, 400, data) == found


@pytest.mark.parametrize("size", range(1, 300, 13))
def test_the_rest_of_a_short_range_is_asked_for(fault_server: FaultServer, size: int) -> None:
    fault = Fault("shorter", size=size, times=EVER)
    case = fault_server.case(BLOB, fault)
    data = read_all(HttpDriver(proxy=None).read_stream(case.url, 400, LENGTH))
    assert data == BLOB.read(400, 700)
    assert case.ledger.count(fault) == -(-LENGTH // size)
