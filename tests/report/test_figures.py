"""Figures as they are printed: type of 8 points, nothing cut, no word over another, the same bytes each time."""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from runs import DEMO, edit_record, put, write_run

from magiqa.report import heat_maps, plots, scatter, style
from magiqa.report.ablation_exhibits import ablation_figures
from magiqa.report.exhibit import Exhibit, draw
from magiqa.report.exhibits import KINDS, exhibits
from magiqa.report.heat_maps import heat_map
from magiqa.report.plots import curves, dots
from magiqa.report.runs_exhibits import run_exhibits, scatter_figure
from magiqa.report.style import POINTS, styled
from magiqa.runs.config import Style
from magiqa.runs.read import read


def words(figure: Figure) -> Iterator[tuple[Text, Bbox]]:
    """Every text that is drawn, and its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts: list[Text] = [figure._suptitle, figure._supxlabel, figure._supylabel]
    for legend in figure.legends:
        texts += legend.get_texts()
    for ax in figure.axes:
        texts += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    for text in texts:
        axes = text.axes if text is not None else None
        if text is not None and text.get_visible() and text.get_text().strip() and (not axes or axes.axison):
            yield text, text.get_window_extent(canvas.get_renderer())


def check(figure: Figure) -> None:
    """All texts at their printed size (numbers in cells may be smaller), inside the figure, apart from each other."""
    inside = figure.bbox.padded(1.0)
    boxes = list(words(figure))
    assert len(boxes) > 3
    for text, box in boxes:
        assert text.get_fontsize() == POINTS or text in text.axes.texts, text
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, f"cut: {text.get_text()!r}"
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1, f"cut: {text.get_text()!r}"
    for (a, box), (b, other) in combinations(boxes, 2):
        over = Bbox.intersection(box.padded(-1.0), other.padded(-1.0))
        assert over is None, f"{a.get_text()!r} over {b.get_text()!r}"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that would be saved."""
    kept: list[Figure] = []
    for module in (plots, scatter, heat_maps):
        monkeypatch.setattr(
            module, "save", lambda figure, stem: kept.append(figure) or [stem.with_suffix(".png")]
        )
    return kept


WIDTHS = pytest.mark.parametrize("width", ["column", "page"])


def draw_each(exhibits: list[Exhibit], width: str) -> None:
    for exhibit in exhibits:
        with styled(Style(width="page" if exhibit.wide else width)):
            exhibit.draw(Path(exhibit.name))


@pytest.mark.slow
@WIDTHS
def test_figures_of_runs_and_ablations_fit(material, drawn, width):
    (sheet,) = [s for s in material.sheets if s.ablation]
    own = run_exhibits(material.runs[0])
    draw_each([*own, *scatter_figure(material), *ablation_figures(sheet, "a")], width)
    assert len(own) == 3 < len(drawn)
    for figure in drawn:
        check(figure)


@WIDTHS
def test_dots_fit_and_the_reference_has_a_band(tmp_path, drawn, width):
    names = ["MA-CLIP", "CLIP-IQA (five pairs, whole image)", "fixed, weight of similarity = 0.25", "product"]
    rows = pd.DataFrame({"name": names, "value": [0.52, 0.61, 0.4, -0.1], "low": 0.2, "high": 0.7})
    both = pd.concat([rows.assign(series="pooled"), rows.assign(series="mean within groups")])
    with styled(Style(width=width)):
        dots(tmp_path / "dots", both, xlabel="SRCC with MOS", reference="product")
        strides = rows.assign(
            name=["stride 224, covering", "224", "128", "64"], value=0.0, low=-0.0694, high=0.0612
        )
        dots(tmp_path / "strides", strides, xlabel="Difference in SRCC to the reference")
        for figure in drawn:
            check(figure)
    ax = drawn[0].axes[0]
    assert sum(isinstance(p, Rectangle) for p in ax.patches) == 1
    np.testing.assert_allclose(ax.lines[0].get_xdata(), rows["value"])


def test_bins_without_an_interval_are_said_in_the_caption(tmp_path):
    folder = write_run(tmp_path / "run", dataset={"cluster": "reference"})
    scores = pd.read_csv(folder / "scores.csv")
    for count, said in ((3, True), (60, False)):
        put(scores.assign(reference=[f"r{i % count}" for i in range(len(scores))]), folder / "scores.csv")
        (run,), _ = read([folder])
        caption = next(e for e in run_exhibits(run) if e.kind == "magnitude").caption
        assert ("No interval: too few references in the bin." in caption) == said
        assert "clustered by reference" in caption


@WIDTHS
@pytest.mark.parametrize("methods", [2, 5, 9])
def test_matrices_fit_and_frames_lie_around_the_numbers(tmp_path, drawn, width, methods):
    values = pd.DataFrame(np.linspace(-0.5, 0.5, methods**2).reshape(methods, methods))
    values.index = [f"{k}  Fixed fusion (MA-CLIP prompts; MA-CLIP views)" for k in range(1, methods + 1)]
    values.columns = [str(k) for k in range(1, methods + 1)]
    framed = {(values.index[0], "1"): "--"}
    with styled(Style(width=width)):
        heat_map(tmp_path / "m", values, zlabel="Difference in SRCC", words=values.map("{:+.3f}*".format),
                 symmetric=True, framed=framed)  # fmt: skip
    check(drawn[0])
    ax = drawn[0].axes[0]
    assert len(ax.texts) == (0 if width == "column" and methods > 4 else methods**2)
    assert len(ax.patches) == 2 and not ax.patches[0].get_fill()


@WIDTHS
def test_curves_in_panels_fit_with_their_legend(tmp_path, drawn, width):
    frame = pd.DataFrame(
        [{"panel": p, "series": s, "x": x, "value": x} for p in "abcde" for s in "uvw" for x in (0, 1)]
    )
    with styled(Style(width=width)):
        curves(tmp_path / "c", frame.assign(low=0.0, high=1.0), xlabel="Level", ylabel="Change from level 0")
    check(drawn[0])


def test_points_lie_where_score_and_mos_say_in_their_groups_color(material, drawn):
    run = material.runs[0]
    draw_each(run_exhibits(run)[:1], "page")
    for ax, score in zip(drawn[0].axes, ("q_sim", "q_mag", "q"), strict=True):
        points = np.concatenate([some.get_offsets().data for some in ax.collections])
        expected = run.scores[[score, "mos"]].to_numpy()
        np.testing.assert_array_equal(points[np.lexsort(points.T)], expected[np.lexsort(expected.T)])
    colors = {tuple(c) for some in ax.collections for c in some.get_facecolor()[:, :3]}
    assert len(colors) == run.scores["group"].nunique() == 3
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in drawn[0].axes]
    assert labels[2] == ("Predicted score", "") and labels[0] == ("Similarity cue", "MOS")


@pytest.mark.slow
def test_the_fitted_curve_is_the_records_logistic_and_its_absence_is_said(tmp_path, drawn):
    folder = write_run(tmp_path / "run", groups=0)
    edit_record(folder, fits={"q_mag": {"params": None}})
    (run,), _ = read([folder])
    b1, b2, b3, b4, b5 = run.record.fits["q"].params
    exhibit = run_exhibits(run)[0]
    exhibit.draw(Path("x"))
    x, y = drawn[0].axes[2].lines[0].get_data()
    np.testing.assert_allclose(y, b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5, rtol=1e-9)
    assert not drawn[0].axes[1].lines and "none for magnitude cue" in exhibit.caption


def test_every_exhibit_can_be_chosen_and_its_short_caption_names_the_weights(material):
    lengths = []
    for _, exhibit in exhibits(material):
        assert exhibit.kind in KINDS
        lengths.append(len(exhibit.caption.split()))
        assert DEMO["label"] in exhibit.caption or exhibit.kind in ("published", "time"), exhibit.caption
    assert max(lengths) <= 40 and np.median(lengths) <= 35


@pytest.mark.slow
def test_a_style_has_a_font_a_width_and_a_title_and_the_same_figure_the_same_bytes(tmp_path, material):
    cues, exhibit, *_ = run_exhibits(material.runs[0])
    assert cues.caption.endswith("Colors: generators.")
    figures = []
    real = style.save
    try:
        scatter.save = lambda figure, stem: figures.append(figure) or real(figure, stem)
        for name in "ab":
            draw(exhibit, tmp_path / name, Style(width="page", font="DejaVu Serif", title=True))
    finally:
        scatter.save = real
    assert figures[0]._suptitle.get_text().startswith("MOS against the magnitude cue")
    assert figures[0].axes[0].xaxis.label.get_fontfamily()[0] == "DejaVu Serif"
    for suffix in ("png", "pdf", "md", "tex"):
        files = [tmp_path / name / f"{exhibit.name}.{suffix}" for name in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes() != b""


@pytest.mark.slow
def test_names_may_hold_anything_and_what_no_font_draws_is_numbered(tmp_path, monkeypatch):
    names = ["$x^", "\\frac", "a\nb", "<b>", "x" * 200, "Москва", "夜景", "人像"]
    rows = pd.DataFrame({"name": names, "value": 0.5, "low": 0.4, "high": 0.6})
    assert all(f.stat().st_size > 0 for f in dots(tmp_path / "any", rows, xlabel="SRCC"))
    monkeypatch.setattr(style, "font_with", lambda character: "")
    files = dots(tmp_path / "names", rows, xlabel="SRCC")
    assert set(re.findall(r": (.*)", files[-1].read_text(encoding="utf-8"))) == {"夜景", "人像"}
