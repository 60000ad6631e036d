"""README.md says only what is so."""

import re
from pathlib import Path

import pytest
from faults import Blob, FaultServer

GIVEN = ("field", "tail", "some", "rows", "first", "last", "data")
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="only in a source tree: README.md is not here")
@pytest.mark.parametrize("where", ["as it stands", "http"])
def test_examples_of_readme_give_the_bytes_of_the_blob(
    where: str, fault_server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL))
    monkeypatch.chdir(tmp_path)
    blob = Blob(1 << 20)
    if where == "http":
        example, count = re.subn(
            r'url = "[^"]*"', f"url = {fault_server.case(blob).url!r}", example
        )
        assert count == 1
    names: dict[str, object] = {}
    exec(example, names)
    data = blob.read(0, blob.size) if where == "http" else Path("field.f32").read_bytes()
    given = {name: bytes(names[name]) for name in GIVEN}  # type: ignore[call-overload]
    assert given == {
        "field": data,
        "tail": data[-512:],
        "some": data[:4096],
        "rows": data[1024 : 1024 + 256 * 4],
        "first": data[:512],
        "last": data[-512:],
        "data": data,
    }
    assert Path("copy.f32").read_bytes() == data
