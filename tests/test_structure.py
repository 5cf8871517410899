"""The shape of the code: leaves import no sibling, one module knows each library, nothing heavy at the start."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "magiqa"
LEAVES = ("views", "controls", "prompts", "cues", "fusion", "agreement", "distortions")
ONLY = {"open_clip": {"backbone"}, "hydra": {"cli"}, "omegaconf": {"cli"}, "matplotlib": {"figures"}}


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_modules_import_no_sibling_but_errors(leaf):
    own = {name for name in imports(PACKAGE / f"{leaf}.py") if name.split(".")[0] == "magiqa"}
    assert own <= {"magiqa.errors", "magiqa.errors.UserError", "magiqa.errors.UnreadableImage"}


@pytest.mark.parametrize("library", ONLY)
def test_one_module_knows_each_library(library):
    knowing = {
        str(file.relative_to(PACKAGE).with_suffix(""))
        for file in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == library for name in imports(file))
    }
    assert (
        knowing - {"datasets/sample"} == ONLY[library]
    )  # the sample's photo lies in matplotlib's package data


@pytest.mark.slow
def test_help_and_config_errors_import_nothing_that_takes_seconds():
    code = (
        "import sys; from magiqa.cli import main; code = main(sys.argv[1:]); "
        "slow = {'torch', 'scipy.stats', 'matplotlib'}.intersection(sys.modules); assert not slow, slow; sys.exit(code)"
    )
    for argv, expected in (
        (["--help"], 0),
        (["evaluate", "fusion.alhpa=2"], 2),
        (["evaluate", "dataset=nosuch"], 2),
        (["evaluate", "engine=opnvino"], 2),
        (["encode", "-m", "precision=fp32,fp31"], 2),
    ):
        done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
        assert done.returncode == expected, done.stderr
