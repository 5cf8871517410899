"""A paper's numbers against scipy on the runs' own scores, and its LaTeX in a conference's two-column class."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit
from scipy.stats import pearsonr, spearmanr

from magiqa.cli.main import main
from magiqa.report.material import Asked, Material
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


@pytest.fixture(scope="module")
def out(folders, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("checked")
    paper(folders, out)
    return out


def printed(file: Path) -> pd.DataFrame:
    """Return a Markdown table's cells as text, without marks."""
    lines = [line for line in file.read_text().splitlines() if line.startswith("|")]
    rows = [
        [re.sub(r"\*\*|</?u>|\\|†|‡", "", cell).strip() for cell in line.strip("|").split(" | ")]
        for line in lines
    ]
    width = len(rows[0])
    return pd.DataFrame(
        [row for row in rows[2:] if len(row) == width], columns=[cell.strip(" |") for cell in rows[0]]
    )


def number(cell: str) -> float:
    return float(cell.partition(" ")[0].rstrip("*"))


def folder_of(folders: list[Path], name: str) -> Path:
    return next(f for f in folders if f.name == name)


def scores_of(folders: list[Path], name: str) -> pd.DataFrame:
    return pd.read_csv(folder_of(folders, name) / "scores.csv")


def plcc(x: np.ndarray, y: np.ndarray) -> float:
    """Return PLCC after the best four-parameter logistic of many starts, with the sign of the raw PLCC."""

    def curve(x, high, low, middle, width):
        return low + (high - low) / (1 + np.exp(-np.clip((x - middle) / (abs(width) + 1e-9), -60, 60)))

    best, error = 0.0, np.inf
    for quantile in (0.1, 0.3, 0.5, 0.7, 0.9):
        for width in (0.03, 0.3, 3.0):
            start = (y.max(), y.min(), np.quantile(x, quantile), width * x.std())
            for sides in (start, (start[1], start[0], *start[2:])):
                try:
                    values = curve(x, *curve_fit(curve, x, y, sides, maxfev=4000)[0])
                except RuntimeError:
                    continue
                if (loss := float(((values - y) ** 2).sum())) < error:
                    best, error = abs(pearsonr(values, y)[0]), loss
    return float(np.copysign(best, pearsonr(x, y)[0]))


@pytest.mark.slow
def test_every_number_of_the_main_table_is_scipys(out, folders, material):
    table, checked = printed(out / "tables" / "agreement.md"), 0
    for _, row in material.rows.drop_duplicates(["run", "score"]).iterrows():
        scores = scores_of(folders, row["run"])
        x, y = scores[row["score"]].to_numpy(float), scores["mos"].to_numpy(float)
        (line,) = table[
            (table["Method"] == row["method"]) & table["Backbone"].isin([row["backbone"] or "–"])
        ].index
        cells = [number(table.loc[line, f"{row['dataset']} {name}"]) for name in ("SRCC", "PLCC")]
        assert cells[0] == pytest.approx(spearmanr(x, y)[0], abs=0.0005)
        fits = json.loads((folder_of(folders, row["run"]) / "record.json").read_text())["fits"]
        if fits[row["score"]]["status"] == "ok":
            assert cells[1] == pytest.approx(plcc(x, y), abs=0.0006)
        checked += 2
    cells = table.drop(columns=["Method", "Backbone"]).filter(regex="^(?!Average)").to_numpy()
    assert checked == (cells != "–").sum() > 10


def test_every_number_by_group_is_scipys(out, folders, material):
    (file,) = [f for f in (out / "tables").glob("groups_*.md")]
    table = printed(file)
    rows = material.rows.drop_duplicates(["run", "score"]).set_index("method")
    checked = 0
    for method in table.columns[2:]:
        row = (
            rows.loc[method]
            if method in rows.index
            else rows[rows["run"] + " " + rows["score"] == method].iloc[0]
        )
        row = row.iloc[0] if isinstance(row, pd.DataFrame) else row
        for group, part in scores_of(folders, row["run"]).groupby("group"):
            (line,) = [k for k, name in enumerate(table.iloc[:, 0]) if name == printed_name(str(group))]
            assert number(table[method][line]) == pytest.approx(
                spearmanr(part[row["score"]], part["mos"])[0], abs=5e-4
            )
            assert int(table["n"][line]) == len(part)
            checked += 1
    assert checked == table.shape[0] * (table.shape[1] - 2) > 5


def printed_name(group: str) -> str:
    return group.replace("<", "&lt;").replace("&$", "&amp;$")


def test_every_difference_of_a_comparison_is_scipys(out, folders):
    pairs = pd.read_csv(folders[-1] / "comparison.csv")
    (file,) = (f for f in (out / "tables").glob("*.md") if "a − b" in f.read_text())
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


@pytest.mark.long
@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs, hyperref and cleveref"
)
def test_results_compile_in_a_two_column_class_with_hyperref_and_cleveref(out, tmp_path):
    folder = tmp_path / "paper"
    shutil.copytree(out, folder)
    (folder / "conference.cls").write_text(CLASS)
    (folder / "mine.tex").write_text(DOCUMENT)

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout

    run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "mine")
    assert "Warning" not in run("bibtex", "mine")
    for _ in range(2):
        log = run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "mine")
    assert "undefined" not in log and "Overfull \\hbox" not in log and "Float too large" not in log
    assert int(re.findall(r"Output written on mine\.pdf \((\d+) pages?", log)[0]) <= 8


@pytest.mark.slow
def test_names_rows_and_the_last_row_are_as_typed(base, tmp_path):
    (tmp_path / "metric.csv").write_text((base / "demo" / "scores.csv").read_text())
    words = [
        str(base / "demo"),
        str(base / "fixed"),
        f"{tmp_path / 'metric.csv'}:mos",
        f"out={tmp_path / 'out'}",
    ]
    assert (
        main(
            ["paper", *words, "names={demo: Ours}", "rows=[Ours,mos,Fixed fusion]", "last=Ours", "only=main"]
        )
        == 0
    )
    assert printed(tmp_path / "out" / "tables" / "agreement.md")["Method"].tolist() == [
        "mos",
        "Fixed fusion",
        "Ours",
    ]


def test_captions_are_short(out, folders):
    made = [
        re.sub(r"^\*\*.*?\*\* ", "", text)
        for text in (out / "captions.md").read_text().split("\n\n")
        if text.strip()
    ]
    words = [len(caption.split()) for caption in made]
    assert np.median(words) <= 35 and Material.read(folders, Asked()).runs
