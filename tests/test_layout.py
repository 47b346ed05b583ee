"""The layout that everything relies on: linked rooms, one import name, types shipped."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "llmtrace"
ROOMS = ("addons", "analyzers", "certs", "storage")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_linked_into_the_package(room: str) -> None:
    link = CORE / room
    assert link.is_symlink()
    assert link.readlink() == Path("../..") / room
    assert (ROOT / room / "__init__.py").is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_refuses_a_second_import_name(room: str) -> None:
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {room}"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 1
    assert f"llmtrace.{room}" in done.stderr


def test_every_package_says_what_it_is() -> None:
    silent = []
    for path in sorted(ROOT.glob("src/llmtrace/**/*.py")):
        text = path.read_text()
        if text.strip() and not ast.get_docstring(ast.parse(text)):
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    folders |= {path.parent for path in CORE.rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_types_are_shipped() -> None:
    assert (CORE / "py.typed").is_file()


def test_data_files_are_of_a_kind_that_is_packed() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packed = project["tool"]["setuptools"]["package-data"]["*"]
    shipped = [
        path
        for folder in (CORE, *(ROOT / room for room in ROOMS))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    stray = [str(p) for p in shipped if not any(p.match(pattern) for pattern in packed)]
    assert stray == []


def test_no_key_lies_in_the_tree() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.pem", "*.key", "*.p12"],  # noqa: S607  the one on the PATH
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert listed.stdout == ""


def test_fragments_of_the_changelog_are_named_as_they_are_read() -> None:
    kinds = ("security", "removed", "deprecated", "added", "changed", "fixed")
    for path in (ROOT / "changes").iterdir():
        number, kind, suffix = path.name.split(".")
        assert (len(number), number.isdigit(), suffix) == (4, True, "md"), path.name
        assert kind in kinds, path.name
        assert path.read_text().startswith("- "), path.name
