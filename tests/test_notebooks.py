"""The notebooks run on any folder of results, and are committed without outputs."""

from pathlib import Path

import pytest
from runs import RN50, write_ablation, write_run

nbclient = pytest.importorskip(
    "nbclient", reason="the notebooks are run with nbclient (pip install 'magiqa[dev]')"
)
nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells and all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_folder_of_results(path, tmp_path, monkeypatch):
    write_run(tmp_path / "demo")
    write_run(
        tmp_path / "other", backbone=RN50, choices={"prompts": "clipiqa", "views": "whole"}, groups=0, seed=4
    )
    write_ablation(tmp_path / "grid", points=21)
    monkeypatch.setenv("MAGIQA_RUNS", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert "image/png" in kinds and ("text/markdown" in kinds or "text/html" in kinds)
    shown = "".join(str(output.get("data", "")) + output.get("text", "") for output in outputs)
    assert "2 runs, 1 other results" in shown and "demo, trained on synthetic degradations" in shown
