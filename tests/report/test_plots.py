"""Figures: what they show, and the same bytes for the same numbers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from runs import DEMO, write_ablation, write_run

from magiqa.report import color_tables, forest_plot, plots, scatter
from magiqa.report.ablation_plots import ablation_figure
from magiqa.report.agreement_plots import run_figures
from magiqa.report.captions import caption
from magiqa.report.display_names import label_name
from magiqa.report.plots import dots


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that would be saved, to look into."""
    kept: list[Figure] = []

    def keep(figure: Figure, stem: Path) -> list[Path]:
        kept.append(figure)
        return [stem]

    for module in (plots, scatter, color_tables, forest_plot):
        monkeypatch.setattr(module, "save", keep, raising=False)
    return kept


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(written: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    return load(written)  # anew for each test, which may change it


def load(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
    groups = pd.read_csv(folder / "groups.csv") if (folder / "groups.csv").is_file() else None
    record = json.loads((folder / "record.json").read_text())
    return pd.read_csv(folder / "scores.csv"), pd.read_csv(folder / "agreement.csv"), groups, record


def texts(figure: Figure) -> str:
    """All the text in a figure."""
    found = [figure._suptitle.get_text() if figure._suptitle else ""]
    for ax in figure.axes:
        found += [
            ax.get_title(loc="left"),
            ax.get_xlabel(),
            ax.get_ylabel(),
            *(t.get_text() for t in ax.texts),
        ]
        found += [label.get_text() for label in ax.get_yticklabels()]
    for legend in figure.legends:
        found += [t.get_text() for t in legend.get_texts()]
    return "\n".join(found)


@pytest.mark.slow
def test_a_run_has_scatter_and_group_figures_as_png_and_pdf(tmp_path, run):
    files = run_figures(tmp_path / "out", *run)
    assert [f.name for f in files] == [
        f"{name}.{suffix}" for name in ("scatter", "magnitude", "srcc_by_group") for suffix in ("png", "pdf")
    ]
    assert files[0].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert files[1].read_bytes()[:5] == b"%PDF-"


@pytest.mark.slow
def test_without_groups_there_is_one_figure_and_no_color(tmp_path, drawn):
    run_figures(tmp_path / "out", *load(write_run(tmp_path / "run", groups=0)))
    assert len(drawn) == 2 and not drawn[0].legends
    colors = drawn[0].axes[0].collections[0].get_facecolor()
    assert len(np.unique(colors, axis=0)) == 1


def test_the_scatter_says_score_agreement_interval_data_set_and_weights(tmp_path, drawn, run):
    scores, agreement, groups, record = run
    record["dataset"]["every"] = 10
    run_figures(tmp_path / "out", scores, agreement, groups, record)
    row = agreement.set_index(["score", "statistic"]).loc[("q", "srcc")]
    text = texts(drawn[0])
    assert f"SRCC {row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]" in text
    for part in ("AGIQA-3K", "n = 60", "one row in 10", DEMO["label"], "gen_0 <&$>", "q_sim", "q_mag", "MOS"):
        assert part in text
    assert all(DEMO["label"] in texts(figure).replace("\n", " ") for figure in drawn)


def test_points_lie_where_score_and_label_say_in_their_groups_color(tmp_path, drawn, run):
    scores, agreement, groups, record = run
    run_figures(tmp_path / "out", scores, agreement, groups, record)
    for ax, score in zip(drawn[0].axes, ("q_sim", "q_mag", "q"), strict=True):
        points = np.concatenate([some.get_offsets().data for some in ax.collections])
        expected = scores[[score, "mos"]].to_numpy()
        np.testing.assert_array_equal(points[np.lexsort(points.T)], expected[np.lexsort(expected.T)])
    rgb = np.concatenate(
        [np.repeat(some.get_facecolor()[:, :3], len(some.get_offsets()), axis=0) for some in ax.collections]
    )
    of_group = {tuple(p): g for p, g in zip(expected.tolist(), scores["group"], strict=True)}
    pairs = {(of_group[tuple(p)], tuple(c)) for p, c in zip(points.tolist(), rgb.tolist(), strict=True)}
    assert len(pairs) == scores["group"].nunique() == 3


def test_the_fitted_curve_is_the_records_logistic(tmp_path, drawn, run):
    scores, agreement, groups, record = run
    b1, b2, b3, b4, b5 = params = [3.0, 12.0, 0.7, 0.5, 2.0]
    record["fits"] = {
        "q": {"status": "ok", "params": params},
        "q_mag": {"status": "failed: no optimum", "params": None},
    }
    run_figures(tmp_path / "out", scores, agreement, groups, record)
    x, y = drawn[0].axes[2].lines[0].get_data()
    np.testing.assert_allclose(y, b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5, rtol=1e-12)
    assert x.min() == scores["q"].min() and x.max() == scores["q"].max()
    assert not drawn[0].axes[1].lines
    assert "no fitted curve (failed: no optimum)" in texts(drawn[0])


def test_more_groups_than_colors_stay_gray_and_say_so(tmp_path, drawn, run):
    scores, agreement, groups, record = run
    scores["group"] = [f"gen_{i % 12}" for i in range(len(scores))]
    run_figures(tmp_path / "out", scores, agreement, groups, record)
    assert "12 groups, not colored" in texts(drawn[0])
    assert not drawn[0].legends


def test_undefined_agreement_is_shown_as_such(tmp_path, drawn, run):
    scores, agreement, groups, record = run
    agreement.loc[agreement["statistic"] == "plcc", ["value", "ci_low", "ci_high"]] = np.nan
    groups.loc[groups.index % 5 == 0, ["value", "ci_low", "ci_high"]] = np.nan
    run_figures(tmp_path / "out", scores, agreement, groups, record)
    assert "PLCC n/a" in texts(drawn[0])


def test_labels_that_are_no_opinion_are_named_for_what_they_are():
    record = {
        "dataset": {"name": "sample", "n": 99, "label": "ssim"},
        "backbone": {"name": "demo", "label": "untrained"},
    }
    assert "no human opinion" in caption(record)
    assert "MOS" not in label_name("ssim")
    turned = {
        "dataset": {"name": "csiq", "n": 866, "label": "mos", "higher_is_better": False},
        "backbone": {},
    }
    assert "MOS negated, so that higher = better" in caption(turned)


@pytest.mark.slow
def test_names_may_hold_anything_and_are_drawn_as_they_are(tmp_path):
    names = ["$x^", "\\frac", "a\nb", "名前", "<b>", "%_#", "x" * 200]
    rows = pd.DataFrame({"name": names, "value": 0.5, "low": 0.4, "high": 0.6})
    assert all(f.stat().st_size > 1000 for f in dots(tmp_path / "names", rows, xlabel="SRCC"))


def test_a_grid_is_a_line_with_its_band_and_the_reference_marked(tmp_path, drawn):
    folder = write_ablation(tmp_path / "lambda")
    table, record = pd.read_csv(folder / "ablation.csv"), json.loads((folder / "record.json").read_text())
    ablation_figure(tmp_path / "figure", table, record)
    ax = drawn[0].axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_data(), table[["lam", "srcc"]].to_numpy().T)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == table["srcc_low"].min() and band[:, 1].max() == table["srcc_high"].max()
    assert {0.5} == set(ax.lines[-1].get_xdata())
    text = texts(drawn[0])
    assert "reference: 0.5" in text and "mean within groups" in text and DEMO["label"] in text


def test_named_variants_are_dots_with_intervals_in_the_tables_order(tmp_path, drawn):
    table = pd.DataFrame({"variant": ["b", "a", "c"], "fusion": ["b", "a", "c"], "srcc": [0.1, 0.3, 0.2]})
    table["srcc_low"], table["srcc_high"] = table["srcc"] - 0.05, table["srcc"] + 0.1
    record = {
        "ablation": {"name": "fusion", "reference": "a"},
        "dataset": {"name": "x", "n": 9, "label": "mos"},
        "backbone": DEMO,
    }
    ablation_figure(tmp_path / "figure", table, record)
    ax = drawn[0].axes[0]
    labels = ax.get_yticklabels()
    assert [t.get_text() for t in labels] == ["b", "a", "c"]
    assert [t.get_fontweight() for t in labels] == ["normal", "bold", "normal"]
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, table["srcc"])
    assert (np.diff(y) < 0).all()  # from the top
    segments = np.array(ax.collections[0].get_segments())
    np.testing.assert_allclose(segments[:, :, 0], table[["srcc_low", "srcc_high"]])


def test_rows_that_a_figure_leaves_out_are_counted(tmp_path, drawn):
    rows = pd.DataFrame({"name": [f"g{i}" for i in range(75)], "value": 0.5, "low": 0.4, "high": 0.6})
    dots(tmp_path / "many", rows, xlabel="SRCC")
    assert "the first 60 of 75 rows" in texts(drawn[0])


@pytest.mark.slow
def test_the_same_numbers_give_the_same_bytes_whatever_the_users_style(tmp_path, written):
    (tmp_path / "matplotlibrc").write_text("font.size: 22\nlines.linewidth: 9\nsavefig.dpi: 31\n")
    code = (
        "import json, sys; from pathlib import Path; import pandas as pd; "
        "from magiqa.report.agreement_plots import run_figures; "
        "run, out = map(Path, sys.argv[1:]); read = lambda n: pd.read_csv(run / n); "
        "run_figures(out, read('scores.csv').head(20), read('agreement.csv'), read('groups.csv'), "
        "json.loads((run / 'record.json').read_text()))"
    )
    # matplotlib reads a matplotlibrc of the working directory
    for name, cwd in (("a", tmp_path), ("b", written)):
        subprocess.run([sys.executable, "-c", code, str(written), str(tmp_path / name)], cwd=cwd, check=True)
    names = sorted(f.name for f in (tmp_path / "a").iterdir())
    assert len(names) == 6
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
