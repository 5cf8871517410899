"""Reports: what the tables say, how they are typeset, and that the page holds all it shows."""

import csv
import html.parser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image
from runs import DEMO, NASTY, RN50, list_files, put, write_ablation, write_run

from magiqa.errors import UserError
from magiqa.report.escape import tex
from magiqa.report.gallery import disagreement
from magiqa.report.group_tables import frame_table, groups_table
from magiqa.report.methods_table import agreement_table
from magiqa.report.other_programs import external_runs
from magiqa.report.published import published
from magiqa.report.published_beside import published_table
from magiqa.report.report import _panel, report
from magiqa.report.table import Cell, Table
from magiqa.report.thumbnails import COLUMNS, PER_SHEET, locate, make_tiles
from magiqa.runs.names import method
from magiqa.runs.read import Run, read
from magiqa.stats.correlation import srcc
from magiqa.studies.evaluate import evaluate

WHOLE = {"prompts": "clipiqa", "views": "whole"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the same images, one on others, a grid."""
    base = tmp_path_factory.mktemp("folders")
    write_run(base / "demo", images=base / "images")
    write_run(base / "published", images=base / "images", backbone=RN50, choices=WHOLE, noise=3.0, seed=1)
    write_ablation(base / "grid")
    return base


@pytest.fixture(scope="module")
def out(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    report([folders / "demo", folders / "published", folders / "grid"], out)
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# --- what is written


@pytest.mark.slow
def test_tables_figures_and_page_are_written(out):
    for stem in ("agreement", "groups_demo", "groups_published", "ablation_grid"):
        for suffix in ("csv", "md", "tex"):
            assert (out / "tables" / f"{stem}.{suffix}").stat().st_size > 100
    for stem in ("demo/scatter", "demo/srcc_by_group", "published/scatter", "ablation_grid"):
        for suffix in ("png", "pdf"):
            assert (out / "figures" / f"{stem}.{suffix}").stat().st_size > 1000
    assert (out / "report.html").is_file()


@pytest.mark.long
def test_everything_regenerates_byte_for_byte(folders, out, tmp_path):
    report([folders / "demo", folders / "published", folders / "grid"], tmp_path / "again")
    first = {f.relative_to(out): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    again = {
        f.relative_to(tmp_path / "again"): f.read_bytes()
        for f in (tmp_path / "again").rglob("*")
        if f.is_file()
    }
    assert first.keys() == again.keys() and len(first) > 20
    assert [str(k) for k in first if first[k] != again[k]] == []


@pytest.mark.slow
def test_tables_hold_nothing_of_the_machine(folders, out):
    for file in (out / "tables").iterdir():
        assert str(folders) not in file.read_text() and str(out) not in file.read_text()


def test_folders_of_folders_are_read(folders):
    runs, sheets = read([folders])
    assert [r.name for r in runs] == ["demo", "published"] and [s.name for s in sheets] == ["grid"]


def test_two_folders_of_one_name_stay_apart(folders, tmp_path):
    shutil.copytree(folders / "demo", tmp_path / "demo")
    runs, _ = read([folders / "demo", tmp_path / "demo"])
    assert [r.name for r in runs] == ["demo", "demo-2"]


@pytest.mark.slow
def test_images_named_like_missing_values_keep_their_names(tmp_path):
    folder = write_run(tmp_path / "run")
    scores = pd.read_csv(folder / "scores.csv")
    scores.loc[:2, "image"] = ["NA", "null", "007"]
    put(scores, folder / "scores.csv")
    assert read([folder])[0][0].scores["image"].tolist()[:3] == ["NA", "null", "007"]


# --- agreement


@pytest.mark.slow
def test_the_csv_holds_every_statistic_of_the_runs_to_nine_digits(folders, out):
    found = {
        (r["run"], r["score"], r["statistic"]): float(r["value"]) for r in rows(out / "tables/agreement.csv")
    }
    expected = pd.read_csv(folders / "demo" / "agreement.csv")
    for row in expected.itertuples():
        assert found[("demo", row.score, row.statistic)] == pytest.approx(row.value, rel=1e-8)


def test_best_and_second_are_marked_and_controls_do_not_compete(folders):
    table = agreement_table(read([folders / "demo", folders / "published"])[0])
    names = [row[0].text for row in table.rows]
    assert names[-2:] == ["Laplacian variance (control)", "file bytes (control)"]
    assert table.rules == (len(names) - 2,)
    for k in (2, 3):
        cells = [row[k] for row in table.rows]
        order = np.argsort([-float(c.value) for c in cells[:-2]])
        assert [cells[i].mark for i in order] == ["best", "second", *[""] * (len(order) - 2)]
        assert [c.mark for c in cells[-2:]] == ["", ""]


@pytest.mark.slow
def test_a_control_that_wins_still_does_not_compete(tmp_path):
    folder = write_run(tmp_path / "run")
    agreement = pd.read_csv(folder / "agreement.csv")
    agreement.loc[agreement["score"] == "bytes", "value"] = 0.999
    put(agreement, folder / "agreement.csv")
    table = agreement_table(read([folder])[0])
    assert table.rows[-1][2].text == "0.999" and table.rows[-1][2].mark == ""


@pytest.mark.slow
def test_a_tie_with_the_best_is_marked_and_a_clear_difference_is_not(tmp_path):
    close = write_run(tmp_path / "close", n=200, noise=1.0, seed=1)
    twin = write_run(tmp_path / "twin", n=200, noise=1.0, seed=2, choices=WHOLE)
    far = write_run(
        tmp_path / "far", n=200, noise=9.0, seed=3, choices={"prompts": "clipiqa", "views": "global"}
    )
    table = agreement_table(read([close, twin, far])[0])
    by = {row[0].text: row[1] for row in table.rows}
    q_sim = {"close": "Similarity [prompts of MA-CLIP; views of MA-CLIP]", "twin": "CLIP-IQA"}
    best, other = sorted((by[name] for name in q_sim.values()), key=lambda c: -float(c.value))
    assert best.mark == "best" and best.text.endswith("†") and other.text.endswith("†")
    assert not by["Similarity [prompts of CLIP-IQA; views global]"].text.endswith("†")
    assert any("model confidence set" in note for note in table.notes)
    row = next(
        r for r in table.data.itertuples() if r.run == "far" and r.score == "q_sim" and r.statistic == "srcc"
    )
    assert row.p_best < 0.05 and not row.in_best_set


@pytest.mark.slow
def test_the_paired_difference_is_of_the_same_images_whatever_their_order(tmp_path):
    a = write_run(tmp_path / "a", seed=1)
    b = write_run(tmp_path / "b", seed=2, choices=WHOLE)
    expected = agreement_table(read([a, b])[0]).data
    scores = pd.read_csv(b / "scores.csv")
    put(scores.sample(frac=1, random_state=0), b / "scores.csv")
    found = agreement_table(read([a, b])[0]).data
    assert expected["p_best"].notna().any()
    # the resamples are drawn in the order of the best run's images: equal up to their noise
    pd.testing.assert_series_equal(found["p_best"], expected["p_best"], atol=0.06, rtol=0)


def test_what_all_rows_share_stands_once_above_the_table(folders):
    runs = read([folders / "demo"])[0]
    table = agreement_table(runs)
    assert [name for _, name in table.columns] == ["method", "SRCC", "PLCC (raw)", "SRCC in groups"]
    assert [row[0].text for row in table.rows[:3]] == ["Similarity", "Magnitude", "MA-CLIP"]
    for part in (
        "AGIQA-3K: n = 60",
        DEMO["label"],
        "prompts of MA-CLIP; views of MA-CLIP; magnitude Box-Cox",
    ):
        assert part in table.shared
    for text in (table.text(), table.markdown(), table.latex()):
        assert text.count("prompts of MA-CLIP") == 1


def test_the_user_chooses_the_statistics(folders):
    runs = read([folders / "demo"])[0]
    table = agreement_table(runs, ["krcc", "plcc_logistic"])
    assert [name for _, name in table.columns][1:] == ["KRCC", "PLCC (fitted)"]
    assert all(row[2].text.endswith("‡") for row in table.rows[:3])  # no test of a fitted statistic
    with pytest.raises(UserError, match="statistics=srrc is in no run here: use srcc"):
        agreement_table(runs, ["srrc"])


@pytest.mark.slow
def test_averages_over_sets_are_plain_and_weighted_and_only_of_methods_on_all_of_them(tmp_path):
    a = write_run(tmp_path / "a", n=40)
    b = write_run(tmp_path / "b", n=120, dataset={"name": "koniq"})
    c = write_run(tmp_path / "c", n=120, dataset={"name": "koniq"}, choices=WHOLE, seed=4)
    table = agreement_table(read([a, b, c])[0], ["srcc"])
    assert table.columns[-2:] == [("average", "SRCC"), ("weighted by n", "SRCC")]
    by = {row[0].text: row[1:] for row in table.rows}
    first, second, plain, weighted = (cell.value for cell in by["MA-CLIP"])
    assert plain == pytest.approx((first + second) / 2)
    assert weighted == pytest.approx((40 * first + 120 * second) / 160)
    assert by["CLIP-IQA"][-1].text == by["CLIP-IQA"][-2].text == by["CLIP-IQA"][0].text == "–"


@pytest.mark.slow
def test_another_programs_scores_are_a_row_on_the_sets_that_they_cover(tmp_path):
    folder = write_run(tmp_path / "run", n=60)
    scores = pd.read_csv(folder / "scores.csv")
    metric = tmp_path / "brisque.csv"
    paths = "/elsewhere/" + scores["image"].where(scores.index > 0, "NASTY")
    pd.DataFrame({"img_path": paths, "score": -scores["mos"]}).to_csv(metric, index=False)
    with pytest.raises(UserError, match="have no score"):
        external_runs(read([folder])[0], [metric])
    scores["image"] = [f"image-{i:04d}.png" for i in range(60)]
    put(scores, folder / "scores.csv")
    scores.assign(img_path="/elsewhere/" + scores["image"], score=-scores["mos"])[
        ["img_path", "score"]
    ].to_csv(metric, index=False)
    runs = read([folder])[0]
    table = agreement_table(runs, others=external_runs(runs, [metric]))
    row = next(row for row in table.rows if row[0].text == "brisque")
    assert row[1].value == pytest.approx(-1) and row[1].mark == ""


@pytest.mark.slow
def test_other_images_are_not_tested_against_and_the_table_says_so(tmp_path):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=2, choices=WHOLE)
    scores = pd.read_csv(b / "scores.csv")
    scores.loc[3, "image"] = "another.png"
    put(scores, b / "scores.csv")
    table = agreement_table(read([a, b])[0])
    assert any("Not tested" in note for note in table.notes)
    assert any(cell.text.endswith("‡") for row in table.rows for cell in row)
    assert table.data["untested"].eq(True).any()


@pytest.mark.slow
def test_a_score_that_is_a_cue_is_shown_once(tmp_path):
    folder = write_run(tmp_path / "run", choices={"fusion": "similarity"})
    scores = pd.read_csv(folder / "scores.csv")
    scores["q"] = scores["q_sim"]
    put(scores, folder / "scores.csv")
    names = [row[0].text for row in agreement_table(read([folder])[0]).rows]
    assert len(names) == 4 and not any(name.startswith("fused") for name in names)


@pytest.mark.slow
def test_runs_that_no_name_tells_apart_go_by_their_folders_names(tmp_path):
    a = write_run(tmp_path / "a", n=40)
    b = write_run(tmp_path / "b", n=40, seed=9)
    names = [row[0].text for row in agreement_table(read([a, b])[0]).rows]
    assert "MA-CLIP [a]" in names and "MA-CLIP [b]" in names


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (None, "MA-CLIP"),
        (
            ("fusion", "alpha", 2.0),
            "fused [fusion adaptive(alpha=2.0); prompts maclip; views maclip; boxcox]",
        ),
        (("magnitude", "lam", 0.3), "fused [fusion adaptive; prompts maclip; views maclip; boxcox(lam=0.3)]"),
        (("views", "stride", 64), "fused [fusion adaptive; prompts maclip; views maclip(stride=64); boxcox]"),
    ],
)
def test_the_papers_name_is_for_the_papers_parameters_alone(folders, change, name):
    record = json.loads((folders / "demo" / "record.json").read_text())
    if change:
        record["changed"] = {f"{change[0]}.{change[1]}": change[2]}
    assert method(record, "q") == name
    record["config"]["pooling"] = "median"
    assert "pooling median" in method(record, "q")


def test_the_similarity_cue_is_not_named_for_what_it_does_not_depend_on(folders):
    record = json.loads((folders / "published" / "record.json").read_text())
    assert method(record, "q_sim") == "CLIP-IQA"
    record["changed"] = {"fusion.alpha": 7}
    assert method(record, "q_sim") == "CLIP-IQA"


@pytest.mark.slow
def test_the_weights_label_is_in_every_table_figure_and_row(out):
    text = DEMO["label"]
    for row in rows(out / "tables/agreement.csv"):
        if row["run"] == "demo" and row["score"] in ("q_sim", "q_mag", "q"):
            assert text in row["backbone"]
    for stem in ("agreement", "groups_demo", "ablation_grid"):
        for suffix in ("md", "tex"):
            assert text in (out / "tables" / f"{stem}.{suffix}").read_text()
    assert text in (out / "report.html").read_text()


# --- published values


def published_runs(tmp_path: Path, **options: object) -> tuple[Table | None, list[str]]:
    data = {"name": "koniq", "variant": "test", "n": 2015, "n_annotated": 2015}
    options = {"backbone": RN50, **options}
    options["choices"] = {"dataset": "koniq_test", **options.get("choices", WHOLE)}
    options["dataset"] = {**data, **options.pop("dataset", {})}
    return published_table(read([write_run(tmp_path / "run", groups=0, **options)])[0])


@pytest.mark.slow
def test_a_published_row_stands_beside_the_same_method_on_the_same_set(tmp_path):
    table, refused = published_runs(tmp_path)
    assert (
        refused == ["run: CLIP-IQA published a PLCC not said to be raw: set fit=official"]
        and table is not None
    )
    run = read([tmp_path / "run"])[0][0]
    measured = srcc(run.scores["q_sim"].to_numpy(), run.scores["mos"].to_numpy())
    source = published()
    source = source[
        (source["dataset"] == "koniq_test") & source["method"].isin(["CLIP-IQA", "CLIP-IQA (piq 0.8)"])
    ]
    assert len(table.data) == len(source) - 1 == 2
    first = table.data[(table.data["method"] == "CLIP-IQA") & (table.data["statistic"] == "srcc")].iloc[0]
    assert (first["published"], first["grade"]) == (0.695, "B") and "2207.12396" in first["source"]
    assert first["difference"] == pytest.approx(measured - 0.695, abs=1e-12)


@pytest.mark.slow
def test_a_published_plcc_of_fitted_values_stands_beside_the_official_fit_only(tmp_path):
    published_runs(tmp_path)
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    record["fits"]["q_sim"] |= {"method": "official", "status": "start_values"}
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    (run,), _ = read([tmp_path / "run"])
    table, refused = published_table([run])
    assert refused == []
    row = table.data[(table.data["method"] == "CLIP-IQA") & (table.data["statistic"] == "plcc")].iloc[0]
    fitted = run.agreement.set_index(["score", "statistic"]).loc[("q_sim", "plcc_logistic"), "value"]
    assert row["measured"] == fitted and "PLCC of the official fit (start_values)" in row["remarks"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backbone": DEMO}, DEMO["label"]),
        ({"backbone": {**RN50, "kind": "untrained", "label": "untrained, seed 0"}}, "untrained, seed 0"),
        ({"backbone": {**RN50, "kind": "synthetic"}}, "synthetic"),
        ({"backbone": {**RN50, "kind": "given", "label": "synthetic"}}, "synthetic"),
        (
            {"backbone": {**RN50, "pretrained": "cc12m"}},
            "weights cc12m: the published values are of OpenAI's",
        ),
        ({"dataset": {"every": 10}}, "one row in 10"),
        ({"dataset": {"skipped": [{"image": "x", "reason": "truncated"}]}}, "1 images were skipped"),
    ],
)
@pytest.mark.slow
def test_other_weights_and_subsets_never_stand_beside_published_values(tmp_path, options, reason):
    table, refused = published_runs(tmp_path, **options)
    assert table is None
    assert len(refused) == 1 and reason in refused[0]


@pytest.mark.parametrize(
    "options",
    [
        {"choices": {"prompts": "high_low_quality", "views": "global"}},
        {"backbone": {**RN50, "name": "RN101"}},
        {"choices": {**WHOLE, "dataset": "koniq"}},
        {"choices": {**WHOLE, "dataset": "koniq_test512"}},
        {"choices": {**WHOLE, "dataset": "folder"}},
        {"choices": {**WHOLE, "dataset": "spaq"}},
        {"choices": {"dataset": "spaq_512"}},
        {"choices": {"dataset": "koniq_zscore"}},
        {"choices": {"dataset": "spaq", "prompts": "maclip", "views": "windows"}},
    ],
)
@pytest.mark.slow
def test_another_protocol_backbone_or_set_is_not_compared(tmp_path, options):
    assert published_runs(tmp_path, **options)[0] is None


@pytest.mark.slow
def test_a_checkpoint_given_by_path_is_compared_and_said_to_be_one(tmp_path):
    table, _ = published_runs(tmp_path, backbone={**RN50, "kind": "given", "pretrained": None})
    assert table is not None and table.data["remarks"].str.contains("weights given by path").all()


@pytest.mark.slow
def test_spaq_meets_the_rows_that_were_resized_as_it_was(tmp_path):
    whole = {**WHOLE, "dataset": "spaq_512"}
    table, _ = published_runs(tmp_path / "a", choices=whole, dataset={"name": "spaq", "variant": ""})
    assert set(table.data["method"]) == {"CLIP-IQA"} and 0.738 in set(table.data["published"])
    table, _ = published_runs(
        tmp_path / "b", choices={"dataset": "spaq"}, dataset={"name": "spaq", "variant": ""}
    )
    assert set(table.data["method"]) == {"MA-CLIP"} and set(table.data["published"]) == {0.7725}


@pytest.mark.slow
def test_a_data_set_with_another_parameter_than_its_options_is_not_compared(tmp_path):
    published_runs(tmp_path)
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    for changed, compared in (
        ({}, True),
        ({"dataset.mos": "raw"}, False),
    ):
        record["changed"] = changed
        (tmp_path / "run" / "record.json").write_text(json.dumps(record))
        assert (published_table(read([tmp_path / "run"])[0])[0] is not None) == compared


@pytest.mark.slow
def test_maclip_with_its_own_parameters_meets_its_published_row_and_else_does_not(tmp_path):
    own = {"choices": {"dataset": "koniq"}, "dataset": {"variant": "", "n": 10073}}
    table, _ = published_runs(tmp_path, **own)
    assert set(table.data["method"]) == {"MA-CLIP"} and set(table.data["published"]) == {0.7645}
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    record["changed"] = {"magnitude.lam": 0.4}
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    assert published_table(read([tmp_path / "run"])[0])[0] is None


# --- other tables


def test_groups_have_a_row_each_with_their_count(folders):
    run = read([folders / "demo"])[0][0]
    table = groups_table(run)
    assert [row[0].text for row in table.rows] == [f"gen_{i} <&$>" for i in range(3)]
    assert [row[1].value for row in table.rows] == [20, 20, 20]
    part = run.scores[run.scores["group"] == "gen_1 <&$>"]
    assert table.rows[1][4].value == pytest.approx(
        srcc(part["q"].to_numpy(), part["mos"].to_numpy()), abs=1e-12
    )


def test_any_csv_becomes_a_table_with_its_intervals_in_one_cell():
    frame = pd.DataFrame({"variant": ["a", "b"], "same": [3, 3], "srcc": [0.5, 0.25]})
    frame["srcc_low"], frame["srcc_high"] = [0.4, 0.2], [0.6, 0.3]
    table = frame_table("x", "X", frame, reference="b")
    assert [name for _, name in table.columns] == ["variant", "SRCC"]
    assert table.rows[1][0].text == "b (reference)"
    assert (table.rows[0][1].text, table.rows[0][1].detail, table.rows[0][1].mark) == (
        "0.500",
        "[0.400, 0.600]",
        "best",
    )
    assert table.notes[0].startswith("In every row: same 3")


def test_a_long_table_is_thinned_in_print_but_keeps_what_is_marked(folders):
    sheet = read([folders / "grid"])[1][0]
    table = frame_table("grid", "Grid", sheet.table, reference="lam=0.50")
    kept, note = table.thin()
    values = [row[0].value for row in kept]
    assert len(kept) <= 40 and {"lam=-1.00", "lam=1.00", "lam=0.50", "lam=0.36"} <= set(values)
    assert kept[values.index("lam=0.50")][0].text == "λ = 0.50 (reference)"
    assert note == [f"{len(kept)} of 101 rows, evenly spread; the CSV holds all."]
    assert len(table.data) == 101


@pytest.mark.slow
def test_an_ablation_says_what_picking_its_best_costs(out):
    for suffix, lam in (("md", "λ"), ("tex", r"$\lambda$")):
        text = (out / "tables" / f"ablation_grid.{suffix}").read_text()
        assert (
            f"Picked on these images, {lam} = 0.36 gains +0.0019." in text
            and "gains 0.0004 less on the other (10 splits)" in text
        )


def test_any_other_result_is_shown_with_its_tables_figures_and_notes(folders, tmp_path):
    folder = tmp_path / "regimes"
    (folder / "figures").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(folder / "figures" / "regimes.png")
    for name in ("regimes", "bins"):
        pd.DataFrame({"bin": ["low", "high"], "diff": [0.1, -0.2]}).to_csv(
            folder / f"{name}.csv", index=False
        )
    record = json.loads((folders / "demo" / "record.json").read_text())
    record |= {
        "command": "experiment",
        "name": "regimes-x",
        "experiment": {"name": "regimes", "notes": ["SRCC across bins <measures> the range"]},
    }
    (folder / "record.json").write_text(json.dumps(record))
    list_files(folder)
    report([folder], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "Experiment regimes, " in page.text and "SRCC across bins <measures> the range" in page.text
    assert sum(attributes.get("class") == "sortable" for _, attributes in page.tags) == 2
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert (tmp_path / "out" / "figures" / "regimes-x" / "regimes.png").is_file()
    for name in ("regimes", "bins"):
        assert DEMO["label"] in (tmp_path / "out" / "tables" / f"regimes-x-{name}.md").read_text()


# --- typesetting

SMALL = Table(
    "small",
    "A & B_c",
    [("", "method"), ("set 1", "SRCC"), ("set 1", "PLCC")],
    [
        [Cell("a|b*c", "a"), Cell("0.500", 0.5, "best", "[0.4, 0.6]"), Cell("-0.100†", -0.1, "second")],
        [Cell("50 % $x_1$ #", "b"), Cell("–"), Cell("0.050", 0.05)],
    ],
    pd.DataFrame(),
    ["p < 0.05"],
    rules=(1,),
)


def test_markdown_marks_best_and_second_and_escapes():
    lines = SMALL.markdown().splitlines()
    assert lines[2] == "| method | set 1 SRCC | set 1 PLCC |"
    assert lines[4] == r"| a\|b\*c | **0.500** \[0.4, 0.6\] | <u>-0.100†</u> |"
    assert "p &lt; 0.05" in lines[-1]


def test_latex_uses_booktabs_spans_and_marks():
    text = SMALL.latex()
    for part in (
        r"\toprule",
        r" & \multicolumn{2}{c}{set 1} \\",
        r"\cmidrule(lr){2-3}",
        r"\textbf{0.500} {\scriptsize [0.4, 0.6]} & \underline{$-$0.100}$^{\dagger}$ \\" + "\n" + r"\midrule",
        r"50 \% \$x\_1\$ \# & -- & 0.050 \\",
        r"\caption{A \& B\_c}",
        r"\bottomrule",
    ):
        assert part in text


def test_latex_escapes_every_special_character():
    assert tex(r"\ & % $ # _ { } ~ ^") == (
        r"\textbackslash{} \& \% \$ \# \_ \{ \} \textasciitilde{} \textasciicircum{}"
    )
    assert tex("名") == "?"


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs (texlive-latex-recommended)"
)
@pytest.mark.slow
def test_the_latex_compiles(out, tmp_path):
    (tmp_path / "tables").mkdir()
    for file in (out / "tables").glob("*.tex"):
        shutil.copy(file, tmp_path / "tables")
    hard = Table(
        "hard",
        NASTY,
        SMALL.columns,
        [[Cell(c * 3, c), Cell(c), Cell(c)] for c in "\\&%$#_{}~^<>|\"'éß名†·"],
        pd.DataFrame(),
    )
    (tmp_path / "tables" / "groups_demo.tex").write_text(SMALL.latex() + hard.latex())
    shutil.copy(out / "tables.tex", tmp_path)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000


# --- the page


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
def test_the_page_loads_nothing(out):
    page = Page((out / "report.html").read_text())
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "data", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":
            assert attributes["href"].startswith(("#", "https://"))
    code = (Path(__file__).parents[2] / "magiqa/report/assets/report.css").read_text()
    code += (Path(__file__).parents[2] / "magiqa/report/assets/report.js").read_text()
    assert not re.search(r"https?://|@import|fetch\(|XMLHttpRequest|innerHTML|eval\(", code)


@pytest.mark.slow
def test_names_cannot_break_out_of_the_page(out):
    page = Page((out / "report.html").read_text())
    assert NASTY in page.text
    assert "<script>alert(1)</script>" in page.text  # a note of the record, shown as text
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any(tag == "b" and attributes for tag, attributes in page.tags)


def data_of(out: Path) -> dict:
    return json.loads(
        re.search(
            r'<script type="application/json" id="data">(.*?)</script>', (out / "report.html").read_text()
        )[1]
    )


@pytest.mark.slow
def test_the_page_holds_every_point_with_its_thumbnail(folders, out):
    data = data_of(out)
    scores = pd.read_csv(folders / "demo" / "scores.csv")
    assert len(data["sets"]) == 1 and [run["set"] for run in data["runs"]] == [0, 0]  # the same images, once
    np.testing.assert_allclose(data["runs"][0]["q"], scores["q"], rtol=1e-5)
    assert data["sets"][0]["tile"] == list(range(60))
    assert (data["tiles"]["w"][0], data["tiles"]["h"][0]) == (48, 32)
    assert data["tiles"]["sheets"][0].startswith("data:image/jpeg;base64,")


@pytest.mark.slow
def test_a_withheld_interval_shows_as_none(tmp_path):
    folder = write_run(tmp_path / "run")
    table = pd.read_csv(folder / "agreement.csv")
    heavy = (table["score"] == "q_mag") & (table["statistic"] == "plcc")
    table.loc[heavy, ["ci_low", "ci_high"]] = np.nan
    put(table, folder / "agreement.csv")
    (run,), _ = read([folder])
    srcc, plcc = _panel(run, "q_mag").lines
    assert srcc.startswith("SRCC ") and srcc.endswith("]")
    assert plcc == f"PLCC {table.loc[heavy, 'value'].item():.3f}"


@pytest.mark.slow
def test_unreachable_images_are_said_to_be_and_nothing_fails(tmp_path):
    folder = write_run(tmp_path / "run", images=tmp_path / "images")
    (tmp_path / "images" / "image-0003.png").unlink()
    (tmp_path / "images" / "image-0004.png").write_bytes(b"another file of this name")
    report([folder], tmp_path / "out")
    assert "2 of 60 files are not under the data set" in Page((tmp_path / "out/report.html").read_text()).text
    tiles = data_of(tmp_path / "out")["sets"][0]["tile"]
    assert [i for i, tile in enumerate(tiles) if tile < 0] == [3, 4]


@pytest.mark.slow
def test_a_page_without_thumbnails_holds_no_image_of_the_data_set(folders, tmp_path):
    report([folders / "demo"], tmp_path, thumbnails=False)
    text = (tmp_path / "report.html").read_text()
    assert "image/jpeg" not in text and "Made without thumbnails." in text


def test_disagreement_is_signed_and_ordered():
    gap = disagreement(pd.Series([0.1, 0.9, 0.5, 0.6]), pd.Series([4.0, 1.0, 2.0, 3.0]))
    assert gap.argmax() == 1 and gap.argmin() == 0 and gap.sum() == pytest.approx(0)


def test_an_image_in_a_folder_of_the_root_is_found_by_its_size(tmp_path):
    for folder, color in (("512", 1), ("1024", 2)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8 * color, 8), "red").resize((8 * color, 8 * color)).save(
            tmp_path / folder / "x.png"
        )
    size = (tmp_path / "1024" / "x.png").stat().st_size
    assert size != (tmp_path / "512" / "x.png").stat().st_size
    assert locate(str(tmp_path), ["x.png"], [size], search=True) == [tmp_path / "1024" / "x.png"]
    assert locate(str(tmp_path), ["x.png"], [size], search=False) == [None]
    assert locate(str(tmp_path), ["x.png"], [size + 1000], search=True) == [None]
    assert locate("", ["x.png"], [size], search=True) == [None]


def test_tiles_stay_in_place_when_an_image_cannot_be_read(tmp_path):
    paths = []
    for i in range(PER_SHEET + 3):
        paths.append(tmp_path / f"{i}.bmp")
        paths[-1].write_bytes(b"no image")
    for i in (1, COLUMNS, PER_SHEET + 2):
        Image.new("RGB", (5, 4), (200, 10, 10)).save(paths[i])
    tiles = make_tiles(paths)
    assert tiles.place == {paths[i]: i for i in (1, COLUMNS, PER_SHEET + 2)}
    assert len(tiles.sheets) == 2 and tiles.sizes[COLUMNS] == (5, 4) and tiles.total == PER_SHEET + 3


# --- what a user can get wrong


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"holds no record.json; give folders written by magiqa evaluate or magiqa ablate"
    ):
        report([tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="absent: no such folder"):
        report([tmp_path / "absent"], tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("record.json", "{", "record.json: not readable as JSON"),
        ("scores.csv", "", "scores.csv: not readable as CSV"),
        (
            "scores.csv",
            "image,mos\na,1\n",
            "scores.csv: the column q_sim is missing; run magiqa evaluate again",
        ),
        ("agreement.csv", "score\nq\n", "agreement.csv: the column statistic is missing"),
        (
            "groups.csv",
            "group,score,statistic,value\na,q,srcc,1\n",
            "groups.csv: the column ci_low is missing",
        ),
        ("comparison.csv", "a,b,diff\nq,q_sim,much\n", "comparison.csv: column diff holds 'much', no number"),
        ("record.json", '{"command": "evaluate", "dataset": {}}', "record.json: dataset.name is missing"),
    ],
)
def test_a_broken_file_is_named_in_one_line(folders, tmp_path, file, content, message):
    shutil.copytree(folders / "demo", tmp_path / "run")
    (tmp_path / "run" / file).write_text(content)
    if file.endswith(".csv"):
        list_files(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        report([tmp_path / "run"], tmp_path / "out")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_out_that_is_a_file_is_an_error(folders, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        report([folders / "grid"], tmp_path / "out")


def test_every_protocols_sets_are_options():
    from magiqa.package import conf_dir
    from magiqa.report.published import PROTOCOLS, option

    rows = published()
    rows = rows[rows["method"].isin(PROTOCOLS.keys())]
    assert len(rows) > 30
    for row in rows.itertuples():
        assert (conf_dir() / "dataset" / f"{option(row.method, row.dataset)}.yaml").is_file()


@pytest.mark.slow
def test_where_a_set_lies_changes_no_table(tmp_path):
    for place in ("a", "elsewhere"):
        made = tiny.make(tmp_path / place)
        for lam in (0.5, 0.1):
            job = tiny.job(made, f"magnitude.lam={lam}", f"cache_dir={tmp_path / 'cache'}")
            evaluate(job.having(out=str(tmp_path / place / "runs" / job.name)), progress=False)
        report([tmp_path / place / "runs"], tmp_path / place / "report", thumbnails=False)
    made = tmp_path / "a" / "report"
    tables = [*sorted((made / "tables").iterdir()), made / "tables.tex"]
    assert {f.suffix for f in tables} == {".csv", ".md", ".tex"}
    for file in tables:
        assert file.read_bytes() == (tmp_path / "elsewhere" / file.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.slow
def test_a_set_with_an_image_annotated_twice_is_tested(tmp_path):
    folders = [
        write_run(tmp_path / name, groups=0, **options)
        for name, options in (("a", {}), ("b", {"backbone": RN50}))
    ]
    for folder in folders:
        scores = pd.read_csv(folder / "scores.csv")
        scores.loc[1, "image"] = scores.loc[0, "image"]
        put(scores, folder / "scores.csv")
    table = agreement_table(read(folders)[0])
    assert not table.data.loc[table.data["rank"].notna(), "untested"].any()


def test_only_variants_compete_and_no_control_does():
    frame = pd.DataFrame({"variant": ["a", "b (control)", "c"], "srcc": [0.3, 0.5, 0.2]})
    marks = [row[1].mark for row in frame_table("t", "t", frame).rows]
    assert marks == ["best", "", "second"]
    steps = frame.rename(columns={"variant": "step"})
    assert {row[1].mark for row in frame_table("t", "t", steps).rows} == {""}
    ties = pd.DataFrame({"variant": ["a", "b", "c"], "srcc": [0.3, 0.2, 0.3]})
    assert [row[1].mark for row in frame_table("t", "t", ties).rows] == ["best", "", "best"]
    alike = ties.assign(srcc=0.3)
    assert {row[1].mark for row in frame_table("t", "t", alike).rows} == {""}


def test_the_samples_images_are_found_though_several_share_a_file(tmp_path, monkeypatch):
    from magiqa.datasets import sample
    from magiqa.report.pictures import Pictures

    monkeypatch.setattr(sample, "PHOTOS", {k: sample.PHOTOS[k] for k in ("camera", "hopper")})
    monkeypatch.setattr(sample, "SEEN", ("jpeg",))
    monkeypatch.setattr(sample, "UNSEEN", ("impulse_noise",))
    table = sample.Sample(str(tmp_path / "sample")).load().table
    scores = table[["image", "ssim"]].assign(bytes=[Path(p).stat().st_size for p in table["path"]])
    record = {"dataset": {"name": "sample", "root": str(tmp_path / "sample")}, "config": {"dataset": {}}}
    pictures = Pictures([Run("a", tmp_path, record, scores, pd.DataFrame(), None)], wanted=True)
    assert [str(path) for path in pictures.paths[0]] == table["path"].tolist()
    assert table["path"].nunique() < len(table)
    (tmp_path / "sample" / "labels.csv").unlink()
    os.mkfifo(tmp_path / "sample" / "labels.csv")  # a stranger's root: never opened
    assert sample.file_names(tmp_path / "sample") == {}


def test_a_p_at_its_floor_is_printed_so():
    frame = pd.DataFrame(
        {"variant": ["a", "b", "c"], "p_adjusted": [1 / 1001, 0.25, np.nan], "p_floor": 1 / 1001}
    )
    table = frame_table("t", "T", frame)
    assert [row[1].text for row in table.rows] == ["< 0.001", "0.250", "–"]
    assert table.columns == [("", "variant"), ("", "p (adjusted)")] and table.numeric(1)
