"""A paper's folder: it compiles, its captions say what was measured, its commands are the records' own."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from runs import DEMO, NASTY, put, write_ablation, write_run

from magiqa.cli.main import main
from magiqa.errors import UserError
from magiqa.report.captioned_figures import drawn_comparison
from magiqa.report.captions import describe
from magiqa.report.color_tables import heat_map
from magiqa.report.group_tables import frame_table
from magiqa.report.methods_paragraph import methods_paragraph, run_times
from magiqa.report.methods_table import agreement_table
from magiqa.report.other_programs import compared_runs, external_runs
from magiqa.report.paper import paper
from magiqa.report.report import report
from magiqa.report.significance import matrices, method_names, named_pairs, significance_table
from magiqa.runs.read import read
from magiqa.studies.ablate import write_transfer
from magiqa.studies.compare import compare


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs on two sets, one of them with another method too, an ablation on both, a comparison."""
    base = tmp_path_factory.mktemp("folders")
    koniq = {"name": "koniq", "variant": "test", "root": "/data/koniq"}
    made = [
        write_run(base / "first"),
        write_run(base / "second", seed=3, noise=2.0, choices={"fusion": "product"}),
        write_run(base / "other", n=80, dataset=koniq, groups=0, choices={"dataset": "koniq_test"}),
        write_ablation(base / "grid", points=21),
    ]
    compare(made[0], [made[1]], out=base / "compared", resamples=200)
    return [*made, base / "compared"]


@pytest.fixture(scope="module")
def out(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paper") / "out"
    paper(folders, out)
    return out


@pytest.mark.slow
def test_the_folder_holds_what_its_document_names(out):
    text = (out / "results.tex").read_text()
    named = re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", text)
    assert len(named) > 6 and all((out / name).is_file() for name in named)
    tables = re.findall(r"\\input\{([^}]*)\}", text)
    assert "tables/agreement" in tables and all((out / f"{name}.tex").is_file() for name in tables)
    every = text + "".join((out / f"{name}.tex").read_text() for name in tables)
    labels = set(re.findall(r"\\label\{([^}]*)\}", every))
    named_there = set(re.findall(r"\\ref\{([^}]*)\}", text))  # the first and the last of many
    assert named_there <= labels and {"tab:agreement", "fig:methods"} <= named_there
    for stem in (out / name for name in named):
        for suffix in (".md", ".tex", ".png"):
            assert stem.with_suffix(suffix).stat().st_size > 50


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs")
def test_it_compiles_in_two_columns_with_nothing_over_the_edge(out, tmp_path):
    shutil.copytree(out, tmp_path / "paper")
    run = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):
        done = subprocess.run(run, cwd=tmp_path / "paper", capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    assert "undefined" not in done.stdout
    wide = [float(pt) for pt in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", done.stdout)]
    assert max(wide, default=0) < 5
    assert "Float too large" not in done.stdout


@pytest.mark.slow
def test_every_caption_names_set_n_backbone_label_and_what_was_resampled(out):
    for file in (out / "figures").rglob("*.md"):
        text = file.read_text()
        assert "n = 60" in text or "n = 80" in text, file
        assert DEMO["label"] in text, file
    text = (out / "figures" / "first" / "scatter.md").read_text()
    for part in ("AGIQA-3K", "5 pairs", "stride 128", "λ = 0.5", "α = 1"):
        assert part in text, part
    assert re.search(r"(resampled by|resamples of) images", text)


@pytest.mark.slow
def test_runs_that_differ_never_carry_the_same_words(tmp_path):
    records = []
    for k, options in enumerate(
        (
            {},
            {"choices": {"fusion": "product"}},
            {"choices": {"prompts": "clipiqa"}},
            {"choices": {"views": "global"}},
            {"dataset": {"every": 10}},
            {"dataset": {"cluster": "prompt"}},
            {"backbone": {**DEMO, "label": "untrained, seed 1"}},
        )
    ):
        folder = write_run(tmp_path / str(k), n=30, groups=0, **options)
        records.append(json.loads((folder / "record.json").read_text()))
    lam = json.loads(json.dumps(records[0]))
    lam["config"]["magnitude"]["lam"] = 0.3
    assert len({describe(r) for r in (*records, lam)}) == len(records) + 1


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("config", "prompts", "pairs"), [["Fine", "poor"]]),
        (("config", "views", "cover"), True),
        (("config", "magnitude", "lam"), 0.3),
        (("config", "fusion", "alpha"), 2.0),
        (("config", "pooling"), "median"),
        (("config", "seed"), 7),
        (("config", "fit"), "official"),
        (("backbone", "positional_embedding"), "native"),
        (("engine", "precision"), "bf16"),
        (("dataset", "resize"), {"mode": "squash", "size": 448, "filter": "bicubic"}),
        (("dataset", "fingerprint"), "f" * 64),
        (("dataset", "skipped"), [{"image": "a", "reason": "truncated"}]),
    ],
    ids=lambda v: ".".join(v) if isinstance(v, tuple) else "",
)
def test_a_caption_changes_with_whatever_makes_the_numbers(where, value):
    def words(change):
        record = {
            "dataset": {"name": "mine", "n": 10, "label": "mos", "fingerprint": "a" * 64},
            "backbone": {"name": "RN50", "positional_embedding": "drop"},
            "engine": {"precision": "fp32"},
            "choices": {"prompts": "maclip", "views": "maclip", "magnitude": "boxcox", "fusion": "adaptive"},
            "config": {
                "prompts": {"pairs": [["Good", "bad"]]},
                "views": {"kinds": ["windows"], "window": 224, "stride": 128, "cover": False},
                "magnitude": {"lam": 0.5},
                "fusion": {"alpha": 1.0},
            },
            "changed": {},
        }
        if change:
            *above, last = where
            part = record
            for key in above:
                part = part[key]
            part[last] = value
            if above[0] == "config":
                record["changed"] = {".".join(where[1:]): value}
        return describe(record)

    assert words(True) != words(False)


def test_the_protocol_says_what_the_records_hold_and_no_more():
    record = {
        "dataset": {"name": "koniq", "n": 10, "label": "mos", "cluster": None},
        "backbone": {"name": "RN50", "pretrained": "openai", "weights_sha256": "ab" * 32},
        "config": {"resamples": 500, "seed": 7},
        "versions": {"torch": "9.9"},
    }
    text = methods_paragraph([record])
    for part in (
        "KonIQ-10k (n = 10)",
        "RN50 (openai), sha256 abababababab",
        "500 resamples of images",
        "seed 7",
        "torch 9.9",
    ):
        assert part in text
    assert "confidence set" not in text and "computed by" not in text
    assert "magiqa sample:" not in text and "demo backbone" not in text
    own = record | {
        "dataset": {
            "name": "sample",
            "n": 768,
            "label": "ssim",
            "notes": ["7 images, where 9 were published"],
        }
    }
    text = methods_paragraph([own | {"backbone": {"name": "demo", "kind": "demo"} | DEMO}])
    assert text.count("16 photos") == 1 and text.count("The demo backbone:") == 1
    assert text.count("where 9 were published") == 1
    without = methods_paragraph([{"dataset": record["dataset"]}])
    assert "Weights" not in without and "resamples" not in without and "Versions" not in without


def test_run_time_counts_only_views_that_were_encoded():
    record = {
        "dataset": {"name": "koniq"},
        "choices": {"views": "whole"},
        "backbone": {"name": "RN50"},
        "engine": {"engine": "torch", "precision": "fp32", "device": "cpu"},
        "cache": {"views_encoded": 200},
        "seconds": {"encode": 4.0},
    }
    cached = {**record, "cache": {"views_encoded": 0}}
    assert run_times([record, cached]) == [("KonIQ-10k", "whole", "RN50", "torch fp32 cpu", 200, 20.0)]


def test_the_matrix_is_antisymmetric_and_stars_what_is_significant(folders):
    table, record = compare(folders[0], resamples=200, out=folders[0].parent / "own")
    values, words = matrices(table, "srcc", record)
    cells = values.fillna(0).to_numpy()
    assert np.abs(cells + cells.T).max() == pytest.approx(0)
    name_of = method_names(record)
    assert list(values.index) == [f"{k + 1}  {name_of[m['name']]}" for k, m in enumerate(record["methods"])]
    assert {"MA-CLIP", "Laplacian variance (control)"} <= set(name_of.values())
    place = {m["name"]: k for k, m in enumerate(record["methods"])}
    for row in table[table["statistic"] == "srcc"].itertuples():
        assert ("*" in words.iloc[place[row.a], place[row.b]]) == (row.p_adjusted < 0.05)
    shown = significance_table("m", table, record)
    assert len(shown.rows) == len(shown.columns) - 1 == len(values)


@pytest.mark.slow
def test_what_a_comparison_was_made_with_is_said_and_its_files_are_rows_of_the_methods_table(tmp_path):
    run = write_run(tmp_path / "run", n=60)
    other = write_run(tmp_path / "other", n=60, choices={"fusion": "product"}, seed=3)
    scores = pd.read_csv(run / "scores.csv")
    scores.assign(score=scores["mos"])[["image", "score"]].to_csv(tmp_path / "musiq.csv", index=False)
    table, record = compare(run, [other, tmp_path / "musiq.csv"], resamples=200, out=tmp_path / "compared")
    assert list(method_names(record).values()) == ["MA-CLIP", "Fused", "musiq"]
    runs, sheets = read([run, other, tmp_path / "compared"])
    (drawn, *more) = drawn_comparison(sheets[0], tmp_path / "figures", "matrix")
    assert [d.png.stem for d in more] == ["matrix-plcc", "matrix-srcc_within"]
    for part in (
        "1: Prompts of MA-CLIP",
        "fusion adaptive",
        "2: Prompts of MA-CLIP",
        "fusion product",
        "200 resamples",
    ):
        assert part in drawn.caption
    main = agreement_table(runs, others=compared_runs(runs, sheets))
    row = next(row for row in main.rows if row[0].text == "musiq")
    assert row[1].value == pytest.approx(1) and row[1].mark == "best"
    others = external_runs(runs, [tmp_path / "musiq.csv"])
    assert compared_runs(runs, sheets, others) == []  # given beside: once
    twin = write_run(
        tmp_path / "twin", n=60, dataset={"name": "spaq", "fingerprint": "e" * 64}
    )  # images of one name
    assert [r.record["dataset"]["name"] for r in compared_runs(read([twin, run])[0], sheets)] == ["agiqa3k"]
    compare(twin, [tmp_path / "musiq.csv"], resamples=200, out=tmp_path / "on_twin")
    runs, sheets = read([twin, run, tmp_path / "compared", tmp_path / "on_twin"])
    assert len(compared_runs(runs, sheets)) == 2  # one metric on two sets
    odd = {**record, "methods": [{**record["methods"][0], "score": "nosuch"}]}
    assert list(method_names(odd).values()) == [record["methods"][0]["name"]]
    named = frame_table("t", "T", named_pairs(table, record))
    heads = [name for _, name in named.columns]
    assert "difference" in heads and "difference in SRCC" not in heads


@pytest.mark.slow
def test_averages_are_over_sets_of_one_kind_of_label(tmp_path):
    folders = [write_run(tmp_path / "a", n=40), write_run(tmp_path / "b", n=50, dataset={"name": "spaq"})]
    ssim = write_run(tmp_path / "c", n=45, dataset={"name": "sample", "label": "ssim"})
    scores = pd.read_csv(ssim / "scores.csv").rename(columns={"mos": "ssim"})
    put(scores, ssim / "scores.csv")
    table = agreement_table(read([*folders, ssim])[0], ["srcc"])
    by = {row[0].text: [cell.value for cell in row[1:]] for row in table.rows}
    first, second, third, plain, _ = by["MA-CLIP"]
    assert plain == pytest.approx((first + second) / 2) and third is not None
    assert any("one kind of label (AGIQA-3K, SPAQ)" in note for note in table.notes)
    alone = agreement_table(read([folders[0], ssim])[0], ["srcc"])
    assert not any("average" in group for group, _ in alone.columns)


def test_a_heat_map_marks_reference_and_best(tmp_path):
    grid = pd.DataFrame([[0.1, 0.4], [0.3, 0.2]], index=[1.0, 0.5], columns=[0.0, 2.0])
    files = heat_map(tmp_path / "map", grid, zlabel="SRCC", reference=(0.5, 0.0), best=True, note=NASTY)
    assert [f.suffix for f in files] == [".png", ".pdf"] and all(f.stat().st_size > 1000 for f in files)


def test_the_command_says_what_it_needs(folders, tmp_path, capsys):
    assert main(["paper", str(folders[0])]) == 2
    assert "out is not set" in capsys.readouterr().err
    assert main(["paper", str(folders[0]), f"out={tmp_path / 'x'}", "style.width=wide"]) == 2
    assert "style.width=wide is not known: use column, page" in capsys.readouterr().err
    assert main(["report", str(folders[0]), f"out={tmp_path / 'y'}", "statistics=nosuch"]) == 2
    assert "statistics=nosuch is in no run here: use srcc" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds no record"):
        paper([tmp_path], tmp_path / "out")


def test_two_sets_of_other_labels_leave_no_empty_table_behind(tmp_path):
    done = []
    for name, label in (("koniq", "mos"), ("sample", "ssim")):
        folder = write_ablation(tmp_path / "sweep" / name, points=9)
        record = json.loads((folder / "record.json").read_text())
        record["dataset"] |= {"name": name, "label": label}
        done.append((pd.read_csv(folder / "ablation.csv"), record))
    assert write_transfer(tmp_path / "sweep", done).empty
    assert sorted(f.name for f in (tmp_path / "sweep").iterdir()) == ["koniq", "sample"]


@pytest.mark.slow
def test_one_set_left_out_and_a_comparison_in_a_runs_own_folder_are_reported(tmp_path):
    done = []
    for name in ("koniq", "spaq"):
        folder = write_ablation(tmp_path / "sweep" / name, points=9)
        record = json.loads((folder / "record.json").read_text())
        record["dataset"]["name"] = name
        (folder / "record.json").write_text(json.dumps(record))
        done.append((pd.read_csv(folder / "ablation.csv"), record))
    write_transfer(tmp_path / "sweep", done)
    run = write_run(tmp_path / "run")
    compare(run, resamples=200)
    report([tmp_path / "sweep", run], tmp_path / "report")
    paper([tmp_path / "sweep", run], tmp_path / "paper")
    for suffix in ("csv", "md", "tex"):
        found = [f.name for f in (tmp_path / "report" / "tables").glob(f"*.{suffix}")]
        assert any("left_out" in name for name in found) and any("matrix" in name for name in found)
    (left_out,) = (tmp_path / "report" / "tables").glob("*left_out*.md")
    text = left_out.read_text()
    assert "KonIQ-10k" in text and "λ = " in text and "best on the other sets" in text
    assert "koniq" not in text and "lam=" not in text and "chosen_on" not in text
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Ablation of λ: one data set left out" in page and "Comparisons" in page
    text = (tmp_path / "paper" / "results.tex").read_text()
    assert "tables/lambda-left-out" in text.replace("_", "-") and "matrix" in text


@pytest.mark.slow
def test_a_closed_pipe_is_no_traceback():
    code = "import sys; from magiqa.cli.main import main; sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()
