"""README.md says only what is so."""

import re
from pathlib import Path

import pytest
from faults import Blob, FaultServer

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="only in a source tree: README.md is not here")
def test_example_of_readme_gives_the_bytes_of_the_blob(fault_server: FaultServer) -> None:
    blob = Blob(1 << 20)
    case = fault_server.case(blob)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    program, count = re.subn(r'"https://[^"]*"', repr(case.url), example)
    assert count == 2
    names: dict[str, object] = {}
    exec(program, names)
    given = {name: bytes(names[name]) for name in ("field", "tail", "some", "rows")}  # type: ignore[call-overload]
    assert given == {
        "field": blob.read(0, blob.size),
        "tail": blob.read(blob.size - 512, blob.size),
        "some": blob.read(0, 4096),
        "rows": blob.read(1024, 1024 + 256 * 4),
    }
