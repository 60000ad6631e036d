"""What is built: the sdist, the wheel, and what an import of it costs."""

import email.message
import email.parser
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import blobread

TREE = Path(__file__).parents[1]

needs_tree = pytest.mark.skipif(
    not (TREE / "setup.py").exists(), reason="only in a source tree: there is nothing to build"
)


@dataclass
class Built:
    """The names in an archive, without the sdist's top directory, and its metadata."""

    names: set[str]
    metadata: email.message.Message


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory of an sdist and of the wheel that was built from it."""
    if given := os.environ.get("BLOBREAD_DIST"):
        return Path(given)
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(directory), str(TREE)]
    subprocess.run(command, check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def sdist(built: Path) -> Built:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
        info = archive.extractfile(path.name.removesuffix(".tar.gz") + "/PKG-INFO")
        assert info is not None
        metadata = email.parser.BytesParser().parse(info)
    return Built(names, metadata)


@pytest.fixture(scope="module")
def wheel(built: Path) -> Built:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (info,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.parser.BytesParser().parsebytes(archive.read(info))
    return Built(names, metadata)


def suffixes(built: Built) -> set[str]:
    return {Path(name).suffix for name in built.names}


def files_of_tree(*patterns: str) -> set[str]:
    found = {path for pattern in patterns for path in TREE.glob(pattern)}
    return {path.relative_to(TREE).as_posix() for path in found if "__pycache__" not in path.parts}


@needs_tree
def test_sdist_has_all_that_builds_tests_and_measures_it(sdist: Built) -> None:
    wanted = files_of_tree(
        "blobread/**/*.py", "blobread/*.p*", "blobread/*.h", "tests/**/*.py", "bench/**/*.py",
        "ci/*",
    )  # fmt: skip
    wanted |= {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "setup.py"}
    assert wanted - sdist.names == set()


@needs_tree
def test_sdist_has_nothing_generated(sdist: Built) -> None:
    assert suffixes(sdist) & {".c", ".so", ".pyd", ".pyc"} == set()


@needs_tree
def test_wheel_has_every_module_of_the_tree(wheel: Built) -> None:
    # A directory without __init__.py works in the tree, and is no package to the build.
    assert files_of_tree("blobread/**/*.py", "blobread/*.pyi") - wheel.names == set()


@needs_tree
def test_wheel_has_the_extension_and_the_mark_of_types(wheel: Built) -> None:
    assert any(name.startswith("blobread/_reader.c") for name in wheel.names)
    assert "blobread/py.typed" in wheel.names


@needs_tree
def test_wheel_has_no_sources(wheel: Built) -> None:
    inside = {Path(name).suffix for name in wheel.names if ".dist-info/" not in name}
    assert inside <= {".py", ".pyi", ".typed", ".so", ".pyd"}


@needs_tree
def test_wheel_has_nothing_beside_the_package(wheel: Built) -> None:
    tops = {name.partition("/")[0] for name in wheel.names}
    assert tops == {"blobread", f"blobread-{wheel.metadata['Version']}.dist-info"}


@needs_tree
def test_version_is_one(sdist: Built, wheel: Built) -> None:
    assert sdist.metadata["Version"] == wheel.metadata["Version"] == blobread.__version__


@needs_tree
def test_licence_is_said_and_shipped(sdist: Built, wheel: Built) -> None:
    for one in (sdist, wheel):
        assert one.metadata["License-Expression"] == "Apache-2.0"
        assert any(name.endswith("LICENSE") for name in one.names)


@needs_tree
def test_extra_all_is_every_other_extra() -> None:
    extras = tomllib.loads((TREE / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    others = ",".join(sorted(extras.keys() - {"all"}))
    assert extras["all"] == [f"blobread[{others}]"]


@pytest.mark.skipif("BLOBREAD_DIST" not in os.environ, reason="only for ci/test, which installs")
def test_suite_runs_on_what_was_installed() -> None:
    assert blobread.__file__ is not None
    assert Path(blobread.__file__).parent != TREE / "blobread"


def modules_after(statement: str) -> set[str]:
    """Give what a new interpreter has imported once it has run `statement`."""
    code = f"{statement}; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def test_import_brings_in_only_what_it_needs() -> None:
    unneeded = {
        "asyncio", "concurrent.futures", "http.client", "importlib.metadata", "matplotlib",
        "multiprocessing", "numpy", "rich", "ssl", "subprocess", "unittest", "urllib.request",
    }  # fmt: skip
    brought = modules_after("import blobread") - modules_after("pass")
    assert brought & unneeded == set()
