"""A paper: its numbers are scipy's, it compiles, its protocol says what the records hold, its exhibits are chosen."""

import html
import re
import shutil
import subprocess
from functools import reduce
from operator import getitem
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from runs import DEMO, edit_record, undrawn, write_ablation, write_run
from scipy.optimize import differential_evolution
from scipy.special import expit
from scipy.stats import pearsonr, spearmanr

from magiqa.cli.main import main
from magiqa.errors import UserError
from magiqa.report.exhibits import exhibits
from magiqa.report.material import Asked, Material
from magiqa.report.paper import paper
from magiqa.report.protocol import full_protocol, method_parts, protocol
from magiqa.report.report import report
from magiqa.report.transfer import transfer
from magiqa.runs.read import read
from magiqa.studies.ablate import write_transfer

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


def every_text(folder: Path, name: str) -> str:
    """Return a document with the tables that it inputs."""
    text = (folder / name).read_text()
    return text + "".join(
        (folder / f"{t}.tex").read_text() for t in re.findall(r"\\input\{(tables/[^}]*)\}", text)
    )


@pytest.mark.slow
def test_the_folder_holds_what_its_documents_name(written):
    for name in ("results.tex", "supplement.tex"):
        text = every_text(written, name)
        graphics = re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", text)
        assert len(graphics) > 2 and all((written / graphic).is_file() for graphic in graphics)
        assert set(re.findall(r"\\ref\{([^}]*)\}", text)) <= set(re.findall(r"\\label\{([^}]*)\}", text))
    keys = set(re.findall(r"\\cite\{([^}]*)\}", every_text(written, "results.tex")))
    entries = set(re.findall(r"@\w+\{([^,]*),", (written / "references.bib").read_text()))
    assert {"li2023agiqa3k", "radford2021clip", "arxiv2511.09948"} <= keys <= entries
    assert "versions" in (written / "protocol.tex").read_text().lower()


@pytest.mark.slow
@undrawn
def test_only_chooses_the_main_documents_exhibits_and_the_rest_is_the_supplement(folders, tmp_path):
    paper(folders, tmp_path, Asked(only=("main", "ablation")))
    text, rest = ((tmp_path / name).read_text() for name in ("results.tex", "supplement.tex"))
    assert "tables/agreement" in text and "tables/ablations" in text and "includegraphics" not in text
    assert "figures/demo/predicted" in rest and "tables/agreement" not in rest
    with pytest.raises(UserError, match="only=tables is not known: use teaser"):
        paper(folders, tmp_path, Asked(only=("tables",)))


def test_the_protocol_is_short_and_says_what_the_records_hold(material):
    text = " ".join(protocol(material).values())
    assert len(text.split()) <= 300
    for part in ("AGIQA-3K (60 images) [@li2023agiqa3k]", "KonIQ-10k test (80 images)", "MA-CLIP", "5 pairs",
                 "stride 128",
                 "λ = 0.5", "α = 1", DEMO["label"], "say nothing about published CLIP weights"):  # fmt: skip
        assert part in text, part
    assert "pandas" not in text and "pandas" in full_protocol(material)["Computation"]
    demo = {
        "dataset": {"name": "sample", "n": 768, "label": "ssim"},
        "backbone": {"name": "demo", "kind": "demo"},
    }
    text = " ".join(protocol(Material([], [SimpleNamespace(record=demo)], [], Asked())).values())
    assert text.count("16 photos") == 1 and text.count("The demo backbone is") == 1 and "SSIM" in text


def test_the_protocol_names_subsets_other_programs_and_the_supplement_once(tmp_path):
    run = write_run(tmp_path / "run", dataset={"name": "spaq", "expected": 11125})
    scores = pd.read_csv(run / "scores.csv")
    scores.assign(Other=scores["mos"])[["image", "Other"]].to_csv(tmp_path / "other.csv", index=False)
    text = " ".join(protocol(Material.read([run], Asked(metrics=[tmp_path / "other.csv"]))).values())
    assert "We use subsets: 60 of the 11,125 images of SPAQ." in text and text.count("upplement") == 1
    assert "other programs, matched by image" in text


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("config", "prompts", "pairs"), [["Fine", "poor"]]),
        (("config", "views", "cover"), True),
        (("config", "magnitude", "lam"), 0.3),
        (("config", "fusion", "alpha"), 2.0),
        (("config", "pooling"), "median"),
        (("config", "seed"), 7),
        (("backbone", "positional_embedding"), "native"),
        (("engine", "precision"), "bf16"),
    ],
    ids=lambda v: ".".join(v) if isinstance(v, tuple) else "",
)
def test_the_words_for_a_method_change_with_whatever_makes_its_numbers(where, value):
    config = {"prompts": {"pairs": [["Good", "bad"]]}, "magnitude": {"lam": 0.5}, "fusion": {"alpha": 1.0}}
    config["views"] = {"kinds": ["windows"], "window": 224, "stride": 128, "cover": False}
    record = {"backbone": {"name": "RN50", "positional_embedding": "drop"}, "engine": {"precision": "fp32"}}
    record |= {
        "choices": {"prompts": "maclip", "views": "maclip", "magnitude": "boxcox", "fusion": "adaptive"}
    }
    record |= {"config": config, "changed": {}}
    before = method_parts(record)
    *above, last = where
    reduce(getitem, above, record)[last] = value
    assert method_parts(record | {"changed": {".".join(where[1:]): value}}) != before


def test_the_command_says_what_it_needs_and_what_it_does_not_understand(base, tmp_path, capsys):
    run, out = str(base / "demo"), f"out={tmp_path / 'x'}"
    for words, message in (
        (["paper", run], "out is not set"),
        (["paper", run, out, "style.width=wide"], "style.width=wide is not known: use column, page"),
        (["paper", run, out, "names=[a"], "is not understood; put each text between quotes"),
        (["paper", run, out, "only=nosuch"], "only=nosuch is not known"),
        (["report", run, out, "statistics=nosuch"], "statistics=nosuch is in no run here: use srcc"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists() or not any((tmp_path / "x").glob("*.tex"))


@pytest.mark.slow
def test_one_set_left_out_is_reported(tmp_path):
    for name, label in (("koniq", "mos"), ("spaq", "mos"), ("csiq", "mos"), ("sample", "ssim")):
        edit_record(
            write_ablation(tmp_path / "sweep" / name, points=9), dataset={"name": name, "label": label}
        )
    _, sheets = read([tmp_path / "sweep" / name for name in ("koniq", "spaq")])
    write_transfer(tmp_path / "sweep", [(sheet.table, sheet.record) for sheet in sheets])
    with undrawn:
        report([tmp_path / "sweep"], tmp_path / "report")
    (left_out,) = (tmp_path / "report" / "tables").glob("*left_out*.md")
    text = left_out.read_text()
    assert "KonIQ-10k" in text and "λ = " in text and "Best on the others" in text
    assert "koniq" not in text and "lam=" not in text and "chosen_on" not in text
    assert "Run apart from the sweep of the others: CSIQ." in text
    assert (
        "Not among them: magiqa sample (SSIM)." in text and "SRCC of the fused score. Backbone: demo" in text
    )
    every = [tmp_path / "sweep" / name for name in ("koniq", "spaq", "csiq")]
    expected = transfer([(sheet.table, sheet.record) for sheet in read(every)[1]])
    table = pd.read_csv(left_out.with_suffix(".csv"))
    table, expected = (frame.set_index("dataset").sort_index() for frame in (table, expected))
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    edit_record(tmp_path / "sweep" / "csiq", changed={"views.stride": 64})
    with undrawn:
        report([tmp_path / "sweep"], tmp_path / "again")
    text = (tmp_path / "again" / "tables" / left_out.name).read_text()
    assert (
        "Not among them: magiqa sample (SSIM); CSIQ (run apart from this sweep)." in text
        and "| CSIQ" not in text
    )


@pytest.mark.slow
def test_names_that_differ_in_case_alone_get_files_of_their_own(base, tmp_path):
    for name in ("grid", "GRID"):
        shutil.copytree(base / "grid", tmp_path / name)
        edit_record(tmp_path / name, name=name)
    made = Material.read([tmp_path / "grid", tmp_path / "GRID"], Asked())
    names = [(e.table is None, e.name.lower()) for _, e in exhibits(made)]
    assert len(set(names)) == len(names) > 3


# --- its numbers against scipy, and its LaTeX in a conference's two-column class


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
    (file,) = (f for f in (written / "tables").glob("*.md") if "A − B" in f.read_text())
    table = printed(file)
    assert len(table) == len(pairs)
    for k, row in pairs[pairs["statistic"] == "srcc"].iterrows():
        values = []
        for key in (row["a"], row["b"]):
            run, score = key.split()[:2]
            scores = scores_of(folders, run)
            values.append(spearmanr(scores[score], scores["mos"])[0])
        shown = [number(table.loc[k, column]) for column in ("Value of A", "Value of B", "A − B")]
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
