"""The shape of the code: imports point down the rooms, one room knows each library, nothing heavy at the start."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import tiny

from magiqa.cli.main import main

PACKAGE = Path(__file__).parent.parent / "magiqa"
# from the top: a room imports from those below it only, and never from one above
ROOMS = (
    "__main__", "cli", "studies", "scorer", "config", "report", "scoring", "features", "runs", "datasets", "engines",
    "backbones", "stats", "method", "images", "checked", "package", "progress", "cores", "stop", "errors",
)  # fmt: skip
ONLY = {
    "open_clip": {"backbones"},
    "hydra": {"config"},
    "submitit": {"config"},
    "omegaconf": {"config"},
    "matplotlib": {"report"},
    "openvino": {"engines"},
    "jinja2": {"report"},
}


def imports(file: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


NAMES = {
    ".".join(("magiqa", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
IMPORTS = {name: imports(file) for name, file in NAMES.items()}


GRAPH = {name: (found & set(NAMES)) - {"magiqa"} for name, found in IMPORTS.items()}


@pytest.mark.parametrize("module", [name for name in NAMES if name != "magiqa"])
def test_imports_point_down_the_rooms(module):
    room = module.split(".")[1]
    assert room in ROOMS, f"{room} has no place among the rooms"
    above = [other for other in GRAPH[module] if ROOMS.index(other.split(".")[1]) < ROOMS.index(room)]
    assert not above


def test_no_import_circle():
    TopologicalSorter(GRAPH).prepare()  # fails on a circle and names it


@pytest.mark.parametrize("library", ONLY)
def test_one_room_knows_each_library(library):
    users = [name for name, found in IMPORTS.items() if library in {other.split(".")[0] for other in found}]
    assert {name.split(".")[1] for name in users} <= ONLY[library]


def test_no_file_is_long():
    lengths = {name: len(file.read_text().splitlines()) for name, file in NAMES.items()}
    assert {name: n for name, n in lengths.items() if n > 350} == {}


def started(argv, heavy):
    """Run a command in a process of its own; it must import none of the heavy modules."""
    code = (
        "import sys; from magiqa.cli.main import main; code = main(sys.argv[2:]); "
        "found = set(sys.argv[1].split()) & sys.modules.keys(); assert not found, found; sys.exit(code)"
    )
    return subprocess.run([sys.executable, "-c", code, heavy, *argv], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), (["encode", "-m", "precision=fp32,fp31"], 2)])
def test_help_and_config_errors_import_nothing_that_takes_seconds(argv, code):
    done = started(argv, "torch scipy.stats matplotlib")
    assert done.returncode == code, done.stderr


@pytest.mark.slow
def test_a_run_on_a_full_cache_imports_nothing_that_takes_seconds(tmp_path):
    typed = [a for a in tiny.overrides(tiny.make(tmp_path)) if not a.startswith("backbone")]
    argv = ["evaluate", *typed, "backbone=demo", "prompts=high_low_quality", f"out={tmp_path / 'out'}"]
    assert main(argv) == 0
    done = started(argv, "torch open_clip openvino matplotlib")
    assert done.returncode == 0, done.stderr
