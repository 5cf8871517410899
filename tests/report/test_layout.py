"""Figures as they are printed: type of 8 points, nothing cut, no two words over each other."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from runs import write_ablation, write_run

from magiqa.report import color_tables, forest_plot, plots, scatter
from magiqa.report.ablation_plots import ablation_figure, curves_of_sets
from magiqa.report.agreement_plots import grid_figure, run_figures
from magiqa.report.color_tables import heat_map
from magiqa.report.forest_plot import forest
from magiqa.report.plots import dots
from magiqa.report.style import POINTS, Width


def words(figure: Figure) -> Iterator[tuple[Text, Bbox]]:
    """Every text that is drawn, and its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found: list[Text] = [figure._suptitle, figure._supxlabel, figure._supylabel]
    for legend in figure.legends:
        found += legend.get_texts()
    for ax in figure.axes:
        found += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    for text in found:
        axes = text.axes if text is not None else None
        if text is not None and text.get_visible() and text.get_text().strip() and (not axes or axes.axison):
            yield text, text.get_window_extent(canvas.get_renderer())


def check(figure: Figure, cells: bool = False) -> None:
    """All of them at their printed size, inside the figure, apart from each other."""
    inside = figure.bbox.padded(1.0)
    drawn = list(words(figure))
    assert len(drawn) > 3
    for text, box in drawn:
        size = text.get_fontsize()
        assert size == POINTS or (cells and 6 <= size < POINTS and text in text.axes.texts), text
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, f"cut: {text.get_text()!r}"
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1, f"cut: {text.get_text()!r}"
    for (a, box), (b, other) in combinations(drawn, 2):
        over = Bbox.intersection(box.padded(-1.0), other.padded(-1.0))
        assert over is None, f"{a.get_text()!r} over {b.get_text()!r}"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that would be saved."""
    kept: list[Figure] = []
    for module in (plots, scatter, color_tables, forest_plot):
        monkeypatch.setattr(module, "save", lambda figure, stem: kept.append(figure) or [stem], raising=False)
    monkeypatch.setattr(
        "magiqa.report.ablation_plots.save", lambda figure, stem: kept.append(figure) or [stem]
    )
    return kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("records")
    write_run(base / "run")
    write_ablation(base / "lambda", points=21)
    return base


def run_of(folder: Path) -> tuple[Any, ...]:
    """Scores, agreement, groups and record."""
    tables = (pd.read_csv(folder / "run" / f"{n}.csv") for n in ("scores", "agreement", "groups"))
    return *tables, json.loads((folder / "run" / "record.json").read_text())


WIDTHS = pytest.mark.parametrize("width", ["column", "page"])


@WIDTHS
def test_a_runs_figures(folder, drawn, width: Width):
    run_figures(folder / "out", *run_of(folder), width=width)
    for figure in drawn:
        check(figure)


@pytest.mark.parametrize("sets", [1, 3, 6])
def test_a_grid_of_sets(folder, drawn, sets):
    scores, agreement, _, record = run_of(folder)
    names = ("agiqa3k", "koniq", "spaq", "sample", "kadid10k", "livec")
    runs = []
    for name in names[:sets]:
        data = record["dataset"] | {"name": name, "n": 11_125, "label": "ssim" if name == "sample" else "mos"}
        runs.append((scores.rename(columns={"mos": data["label"]}), agreement, record | {"dataset": data}))
    grid_figure(folder / "grid", runs)
    check(drawn[0])


@WIDTHS
def test_ablations(folder, drawn, width: Width):
    table = pd.read_csv(folder / "lambda" / "ablation.csv")
    record = json.loads((folder / "lambda" / "record.json").read_text())
    ablation_figure(folder / "curve", table, record, width=width)
    sets = [
        (table, record | {"dataset": record["dataset"] | {"name": n}}) for n in ("koniq", "spaq", "kadid10k")
    ]
    curves_of_sets(folder / "curves", sets, width=width)
    for figure in drawn:
        check(figure)


@WIDTHS
@pytest.mark.parametrize("spread", [0.0004, 0.03, 0.6])
def test_dots_with_their_differences(folder, drawn, width: Width, spread):
    names = ["MA-CLIP", "CLIP-IQA (five pairs, whole image)", "fixed, weight of similarity = 0.25", "product"]
    value = np.array([0.52, 0.61, 0.4, -0.1])
    rows = pd.DataFrame({"name": names, "value": value, "low": value - 0.05, "high": value + 0.05})
    off = np.array([0.0, -0.5, 1.0, 0.2]) * spread
    beside = pd.DataFrame({"name": names, "value": off, "low": off - spread, "high": off + spread})
    both = pd.concat([rows.assign(series="pooled"), rows.assign(series="mean within groups")])
    options = {"beside": beside, "beside_label": "difference to the reference, simultaneous 95 % band"}
    dots(
        folder / "dots", both, xlabel="SRCC with MOS, 95 % interval", note="AGIQA-3K, n = 2,982; RN50 (openai)",
        reference="MA-CLIP", title="Methods", width=width, **options,
    )  # fmt: skip
    check(drawn[0])


EXPECTED = {  # breaks in cells: of the interval after the effect, and inside it; none where no number fits
    ("page", 2): {1}, ("page", 5): {1}, ("page", 9): {2}, ("column", 2): {2}, ("column", 5): set(), ("column", 9): set()
}  # fmt: skip


@WIDTHS
@pytest.mark.parametrize("methods", [2, 5, 9])
def test_matrices(folder, drawn, width: Width, methods):
    values = pd.DataFrame(np.linspace(-0.5, 0.5, methods**2).reshape(methods, methods))
    values.index = [f"{k} Fused [prompts of CLIP-IQA]" for k in range(1, methods + 1)]
    values.columns = [str(k) for k in range(1, methods + 1)]
    words_in = values.map(lambda v: f"{v:+.3f}*\n[{v - 0.1:+.3f}, {v + 0.1:+.3f}]")
    heat_map(folder / "m", values, zlabel="difference in SRCC", words=words_in, symmetric=True, width=width)
    check(drawn[0], cells=True)
    lines = {text.get_text().count("\n") for text in drawn[0].axes[0].texts}
    assert lines == EXPECTED[width, methods]


@WIDTHS
def test_a_forest(folder, drawn, width: Width):
    names = ["MA-CLIP", "CLIP-IQA, five pairs", "Magnitude [views of MA-CLIP]", "file bytes (control)"]
    sets = ["AGIQA-3K, n = 2,982", "KonIQ-10k, n = 10,073", "SPAQ, n = 11,125", "magiqa sample, n = 768"]
    rows = pd.DataFrame([{"name": n, "set": s, "value": 0.5} for n in names for s in sets])
    rows["low"], rows["high"] = rows["value"] - 0.1, rows["value"] + 0.1
    forest(folder / "f", rows, xlabel="SRCC, 95 % interval", controls=names[-1:], width=width)
    check(drawn[0])
