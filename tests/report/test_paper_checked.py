"""A paper's numbers against scipy on the runs' own scores, and its LaTeX in a conference's two-column class."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from runs import undrawn
from scipy.optimize import differential_evolution
from scipy.special import expit
from scipy.stats import pearsonr, spearmanr

from magiqa.cli.main import main
from magiqa.report.paper import paper

CLASS = r"""\NeedsTeXFormat{LaTeX2e}\ProvidesClass{conference}
\LoadClass[10pt,twocolumn,letterpaper]{article}
\RequirePackage{times}
\setlength{\textwidth}{6.875in}\setlength{\textheight}{8.875in}\setlength{\columnsep}{0.3125in}
\setlength{\oddsidemargin}{-0.1875in}\setlength{\evensidemargin}{-0.1875in}\setlength{\topmargin}{-0.5in}
\setlength{\headheight}{0pt}\setlength{\headsep}{0pt}\setlength{\parindent}{1pc}
\AtBeginDocument{\fontsize{10}{12}\selectfont}
"""

DOCUMENT = r"""\documentclass{conference}
\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}
\usepackage{graphicx,array,booktabs}
\usepackage[breaklinks]{hyperref}\usepackage[capitalize]{cleveref}
\extrafloats{200}
\begin{document}
\title{Results}\author{A. Author}\maketitle
\input{results}
See \cref{tab:agreement}.
{\small\bibliographystyle{plain}\bibliography{references}}
\end{document}
"""


def printed(file: Path) -> pd.DataFrame:
    """Return a Markdown table's cells as text, without marks."""
    text = re.sub(r"\*\*|</?u>|\\|†|‡", "", html.unescape(file.read_text()))
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    names = [name.strip() for name in rows[0]]
    return pd.DataFrame([row for row in rows[2:] if len(row) == len(names)], columns=names)


def number(cell: str) -> float:
    return float(cell.partition(" ")[0].rstrip("*"))


def scores_of(folders: list[Path], name: str) -> pd.DataFrame:
    return pd.read_csv(next(f for f in folders if f.name == name) / "scores.csv")


def plcc(x: np.ndarray, y: np.ndarray) -> float:
    """Return PLCC after the best four-parameter logistic, with the sign of the raw PLCC.

    Its lowest and highest value are linear, so that the best curve is the one that correlates most.
    """

    def distance(place: np.ndarray) -> float:
        curve = expit((x - place[0]) / np.exp(place[1]))
        return -abs(pearsonr(curve, y)[0]) if np.ptp(curve) else 0.0

    s = x.std()
    bounds = [(x.min() - 20 * s, x.max() + 20 * s), (np.log(s / 30), np.log(s * 30))]
    return float(np.copysign(differential_evolution(distance, bounds, seed=0).fun, pearsonr(x, y)[0]))


@pytest.mark.slow
def test_every_number_of_the_main_table_is_scipys(written, folders, material):
    table, checked = printed(written / "tables" / "agreement.md"), 0
    for _, row in material.rows.drop_duplicates(["run", "score"]).iterrows():
        scores = scores_of(folders, row["run"])
        x, y = scores[row["score"]].to_numpy(float), scores["mos"].to_numpy(float)
        (line,) = table[
            (table["Method"] == row["method"]) & table["Backbone"].isin([row["backbone"] or "–"])
        ].index
        cells = [number(table.loc[line, f"{row['dataset']} {name}"]) for name in ("SRCC", "PLCC")]
        assert cells[0] == pytest.approx(spearmanr(x, y)[0], abs=0.0005)
        (run,) = [run for run in material.runs if run.name == row["run"]]
        if run.record.fits[row["score"]].status == "ok":
            assert cells[1] == pytest.approx(plcc(x, y), abs=0.0006)
        checked += 2
    cells = table.drop(columns=["Method", "Backbone"]).filter(regex="^(?!Average)").to_numpy()
    assert checked == (cells != "–").sum() > 10


def test_every_number_by_group_is_scipys(written, folders, material):
    (file,) = [f for f in (written / "tables").glob("groups_*.md")]
    table = printed(file)
    rows = material.rows.drop_duplicates(["run", "score"])
    checked = 0
    for method in table.columns[2:]:
        row = rows[(rows["method"] == method) | (rows["run"] + " " + rows["score"] == method)].iloc[0]
        for group, part in scores_of(folders, row["run"]).groupby("group"):
            cell = table[table.iloc[:, 0] == group].iloc[0]
            expected = spearmanr(part[row["score"]], part["mos"])[0]
            assert number(cell[method]) == pytest.approx(expected, abs=5e-4) and int(cell["n"]) == len(part)
            checked += 1
    assert checked == table.shape[0] * (table.shape[1] - 2) > 5


def test_every_difference_of_a_comparison_is_scipys(written, folders):
    pairs = pd.read_csv(folders[-1] / "comparison.csv")
    (file,) = (f for f in (written / "tables").glob("*.md") if "a − b" in f.read_text())
    table = printed(file)
    assert len(table) == len(pairs)
    for k, row in pairs[pairs["statistic"] == "srcc"].iterrows():
        values = []
        for key in (row["a"], row["b"]):
            run, score = key.split()[:2]
            scores = scores_of(folders, run)
            values.append(spearmanr(scores[score], scores["mos"])[0])
        shown = [number(table.loc[k, column]) for column in ("value of a", "value of b", "a − b")]
        assert shown == pytest.approx([*values, values[0] - values[1]], abs=0.0005)


def compiled(folder: Path, name: str) -> str:
    """Compile a document, with its references where it has any, and return the last log."""
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
    references = ["bibtex", name]
    for words in (latex, *([] if name == "supplement" else [references]), latex, latex):
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        assert words != references or "Warning" not in done.stdout
    return done.stdout


@pytest.mark.long
@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs, caption, hyperref and cleveref"
)
def test_documents_and_results_in_a_two_column_class_compile_with_nothing_over_the_edge(folders, tmp_path):
    paper(folders, tmp_path)
    (tmp_path / "conference.cls").write_text(CLASS)
    (tmp_path / "mine.tex").write_text(DOCUMENT)
    for name, most in (("paper", 3), ("supplement", 3), ("mine", 0)):
        log = compiled(tmp_path, name)
        assert "undefined" not in log and "Float too large" not in log
        assert max((float(pt) for pt in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)), default=0) <= most
    assert int(re.findall(r"Output written on mine\.pdf \((\d+) pages?", log)[0]) <= 8


@pytest.mark.slow
@undrawn
def test_names_rows_and_the_last_row_are_as_typed(base, tmp_path):
    metric = tmp_path / "metric.csv"
    shutil.copy(base / "demo" / "scores.csv", metric)
    chosen = ["names={demo: Ours}", "rows=[Ours,mos,Fixed fusion]", "last=Ours", "only=main"]
    places = [str(base / "demo"), str(base / "fixed"), f"{metric}:mos", f"out={tmp_path / 'out'}"]
    assert main(["paper", *places, *chosen]) == 0
    names = printed(tmp_path / "out" / "tables" / "agreement.md")["Method"]
    assert names.tolist() == ["mos", "Fixed fusion", "Ours"]
