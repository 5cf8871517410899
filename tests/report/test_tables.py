"""Tables: what the numbers are, how rows are named, ordered, marked and typeset."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from runs import DEMO, RN50, edit_record, put, write_ablation, write_run
from scipy import stats

from magiqa.errors import UserError
from magiqa.report import runs_exhibits
from magiqa.report.ablation_exhibits import ablation_curves, ablation_details, ablation_tables
from magiqa.report.escape import tex
from magiqa.report.latex import latex
from magiqa.report.main_table import backbones, gains, main_table
from magiqa.report.material import Asked, Material, external_runs
from magiqa.report.methods import method_name
from magiqa.report.published import published
from magiqa.report.published_exhibits import published_table, refused
from magiqa.report.runs_exhibits import scatter_figure
from magiqa.report.study_exhibits import comparisons, experiments, matrix
from magiqa.report.table import Cell, Table, frame_table, number, p_cell
from magiqa.runs.read import read

WHOLE = {"prompts": "clipiqa", "views": "whole"}


def table_of(material: Material) -> Table:
    (exhibit,) = main_table(material)
    return exhibit.table


def rows_of(table: Table) -> dict[str, list[Cell]]:
    return {row[0].text: row[1:] for row in table.rows}


# --- the main table


def test_srcc_and_plcc_after_the_fit_are_scipys_and_plcc_carries_the_raw_sign(tmp_path):
    folder = write_run(tmp_path / "run")
    scores, agreement = (pd.read_csv(folder / f"{name}.csv") for name in ("scores", "agreement"))
    scores["q"] *= -1
    values = agreement.set_index(["score", "statistic"])["value"]
    agreement["value"] *= np.where(
        agreement["score"].eq("q") & agreement["statistic"].isin(["srcc", "plcc"]), -1, 1
    )
    put(scores, folder / "scores.csv")
    put(agreement, folder / "agreement.csv")
    table = table_of(Material.read([folder], Asked()))
    srcc, plcc = rows_of(table)["MA-CLIP"]
    assert srcc.value == pytest.approx(stats.spearmanr(scores["q"], scores["mos"])[0])
    assert plcc.value == pytest.approx(-abs(values["q", "plcc_logistic"]))
    assert plcc.detail == "" and srcc.detail.startswith("[")
    assert [name for _, name in table.columns] == ["Method", "SRCC", "PLCC"]
    assert len(" ".join(table.notes).split()) <= 40 and len(table.title.split()) <= 40


def test_best_and_second_are_marked_ties_too_and_controls_do_not_compete(one_set):
    table = table_of(one_set)
    names = [row[0].text for row in table.rows]
    assert names[-2:] == ["Laplacian variance (control)", "File size (control)"]
    assert table.blocks == {len(names) - 2: ""}
    cells = [row[1] for row in table.rows]
    values = [round(float(c.value), 3) for c in cells[:-2]]
    top, second = sorted(set(values), reverse=True)[:2]
    assert [c.mark for c in cells] == [{top: "best", second: "second"}.get(v, "") for v in values] + ["", ""]


@pytest.mark.slow
def test_a_tie_with_the_best_srcc_is_marked_and_plcc_never(tmp_path):
    close = write_run(tmp_path / "close", n=200, noise=1.0, seed=1)
    twin = write_run(tmp_path / "twin", n=200, noise=1.0, seed=2, choices=WHOLE)
    far = write_run(tmp_path / "far", n=200, noise=9.0, seed=3, choices={**WHOLE, "views": "global"})
    table = table_of(Material.read([close, twin, far], Asked()))
    by = rows_of(table)
    similarity = [n for n in by if n.startswith("Similarity cue (MA-CLIP")] + ["CLIP-IQA"]
    assert all(by[name][0].text.endswith("†") for name in similarity)
    (best,) = [cells[0] for cells in by.values() if cells[0].mark == "best"]
    assert not best.text.endswith("†")  # its bold says it
    assert "† not significantly worse than the best (controls untested)." in table.notes[0]
    assert not by["Similarity cue (CLIP-IQA prompts; global views)"][0].text.endswith("†")
    assert not any("†" in cells[1].text or "‡" in cells[1].text for cells in by.values())
    row = table.data[(table.data["run"] == "far") & (table.data["score"] == "q_sim")].iloc[0]
    assert row["p_best"] < 0.05 and not row["in_best_set"]


def test_the_user_chooses_statistics_names_rows_and_their_order(base):
    def asked(**options) -> Table:
        return table_of(Material.read([base / "demo", base / "fixed"], Asked(**options)))

    assert [name for _, name in asked(statistics=["krcc", "plcc"]).columns][1:] == ["KRCC", "PLCC (raw)"]
    chosen = asked(names={"fixed": "Ours"}, rows=["Ours", "MA-CLIP"])
    assert [row[0].text for row in chosen.rows] == ["Ours", "MA-CLIP"]
    for options, message in (
        ({"statistics": ["srrc"]}, "statistics=srrc"),
        ({"names": {"nosuch": "x"}}, "no run nosuch"),
        ({"rows": ["Theirs"]}, "no method Theirs"),
    ):
        with pytest.raises(UserError, match=message):
            asked(**options)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "MA-CLIP"),
        ({"fusion.alpha": 2.0}, "Adaptive (α = 2.0) fusion (MA-CLIP prompts; MA-CLIP views; Box-Cox)"),
        ({"views.stride": 64}, "Adaptive fusion (MA-CLIP prompts; MA-CLIP (stride = 64) views; Box-Cox)"),
    ],
)
def test_a_papers_name_is_for_its_own_parameters_alone(base, change, name):
    record = json.loads((base / "demo" / "record.json").read_text()) | {"changed": change}
    assert method_name(record, "q") == name
    record["config"]["pooling"] = "median"
    assert "median pooling" in method_name(record, "q")
    assert method_name(json.loads((base / "published" / "record.json").read_text()), "q_sim") == "CLIP-IQA"


@pytest.mark.slow
def test_another_programs_scores_are_a_row_where_they_cover_a_set_in_the_direction_typed(tmp_path):
    run = write_run(tmp_path / "run", n=60)
    scores, file = pd.read_csv(run / "scores.csv"), tmp_path / "all.csv"
    scores[["image"]].assign(niqe=-scores["mos"], musiq=scores["mos"]).to_csv(file, index=False)
    for word, message in ((f"{file}", f"such as {file}:niqe"), (f"{file}:niqe", f"{file}:niqe:lower")):
        with pytest.raises(UserError, match=re.escape(message)):
            external_runs(read([run])[0], [Path(word)])
    for direction, value in (("lower", 1), ("higher", -1)):
        made = Material.read([run], Asked(metrics=[Path(f"{file}:niqe:{direction}")]))
        assert rows_of(table_of(made))["niqe"][0].value == pytest.approx(value)
    scores[["image"]].assign(score=scores["mos"]).head(40).to_csv(file, index=False)
    with pytest.raises(UserError, match="have no score"):
        external_runs(read([run])[0], [file])


@pytest.mark.slow
def test_averages_are_over_sets_of_one_kind_of_label_and_methods_on_all_of_them(tmp_path, monkeypatch):
    folders = [write_run(tmp_path / "a", n=40), write_run(tmp_path / "b", n=50, dataset={"name": "spaq"})]
    ssim = write_run(tmp_path / "c", n=45, dataset={"name": "sample", "label": "ssim"})
    put(pd.read_csv(ssim / "scores.csv").rename(columns={"mos": "ssim"}), ssim / "scores.csv")
    edit_record(folders[1], dataset={"expected": 11125})
    table = table_of(Material.read([*folders, ssim], Asked(statistics=["srcc"])))
    assert table.notes[0].endswith("n: SPAQ 50.")  # a subset
    heads: list[str] = []
    monkeypatch.setattr(runs_exhibits, "scatter", lambda stem, panels: heads.extend(p.title for p in panels))
    (figure,) = scatter_figure(Material.read([*folders, ssim], Asked()))
    figure.draw(tmp_path / "x")
    assert [head.partition("\n")[0] for head in heads] == [
        "AGIQA-3K, n = 40",
        "SPAQ, n = 50",
        "magiqa sample, n = 45",
    ]
    first, second, _, mean = (cell.value for cell in rows_of(table)["MA-CLIP"])
    assert mean == pytest.approx((first + second) / 2) and "Average: without magiqa sample." in table.title
    numbers = pd.read_csv(folders[1] / "agreement.csv")
    numbers.loc[numbers["score"].eq("q") & numbers["statistic"].eq("srcc"), "value"] = np.nan
    put(numbers, folders[1] / "agreement.csv")  # undefined on one set: no mean of the others
    table = table_of(Material.read([*folders, ssim], Asked(statistics=["srcc"])))
    assert [cell.text for cell in rows_of(table)["MA-CLIP"]][1::2] == ["–", "–"]


def test_the_mean_gain_is_over_five_sets_of_one_kind_of_label_each_counted_once(tmp_path):
    sets = [{"name": n} for n in ("agiqa3k", "spaq", "koniq", "csiq", "tid2013")]
    sets += [{"name": "koniq", "variant": "other"}, {"name": "sample", "label": "ssim"}]
    folders = [write_run(tmp_path / str(k), dataset=data) for k, data in enumerate(sets)]
    diffs = []
    for k, folder in enumerate(folders):
        scores = pd.read_csv(folder / "scores.csv")
        scores["q"] += 0.1 * np.random.default_rng(k).normal(size=len(scores))
        srcc = [stats.spearmanr(scores[name], scores["mos"])[0] for name in ("q", "q_sim")]
        diffs.append(srcc[0] - srcc[1])
        put(scores.rename(columns={"mos": sets[k].get("label", "mos")}), folder / "scores.csv")
    (exhibit,) = gains(Material.read(folders, Asked()))
    *rows, mean = exhibit.table.rows
    assert sorted(row[2].value for row in rows) == pytest.approx(sorted(diffs), abs=1e-9)
    assert mean[0].text == "Mean of 5 data sets" and mean[1].text == "–" and rows[0][1].text == "60"
    assert mean[2].value == pytest.approx(np.mean(diffs[:5]), abs=1e-9)
    assert "magiqa sample" in [row[0].text for row in rows] and "MOS" in exhibit.caption
    (four,) = gains(Material.read(folders[:4], Asked(names={"0": "Ours"})))
    assert len(four.table.rows) == 4 and four.caption.startswith("Gain in SRCC of Ours over ")


def test_backbones_share_a_table_where_a_method_ran_with_several(base, tmp_path):
    shutil.copytree(base / "demo", tmp_path / "rn50")
    edit_record(tmp_path / "rn50", backbone=RN50)
    (exhibit,) = backbones(Material.read([base / "demo", tmp_path / "rn50"], Asked()))
    assert [row[0].text for row in exhibit.table.rows] == [DEMO["label"], "RN50 (openai)"]


# --- published values


def published_runs(folder: Path, **options) -> Material:
    data = {"name": "koniq", "variant": "test", "n": 2015, "n_annotated": 2015}
    options = {"backbone": RN50, **options}
    options["choices"] = {"dataset": "koniq_test", **options.get("choices", WHOLE)}
    options["dataset"] = {**data, **options.pop("dataset", {})}
    return Material.read([write_run(folder / "run", groups=0, **options)], Asked())


@pytest.mark.slow
def test_a_published_value_stands_beside_the_same_method_on_the_same_set(tmp_path):
    made = published_runs(tmp_path)
    (exhibit,) = published_table(made)
    assert refused(made) == ["run: CLIP-IQA published a PLCC not said to be raw: set fit=official"]
    source = published()
    source = source[
        (source["dataset"] == "koniq_test") & source["method"].isin(["CLIP-IQA", "CLIP-IQA (piq 0.8)"])
    ]
    data = exhibit.table.data
    assert len(data) == len(source) - 1 == 2
    first = data[(data["method"] == "CLIP-IQA") & (data["statistic"] == "srcc")].iloc[0]
    measured = stats.spearmanr(made.runs[0].scores["q_sim"], made.runs[0].scores["mos"])[0]
    assert (first["published"], first["grade"]) == (0.695, "B")
    assert first["difference"] == pytest.approx(measured - 0.695)


@pytest.mark.slow
def test_a_published_plcc_of_fitted_values_stands_beside_the_official_fit_only(tmp_path):
    published_runs(tmp_path)
    edit_record(tmp_path / "run", fits={"q_sim": {"method": "official", "status": "start_values"}})
    made = Material.read([tmp_path / "run"], Asked())
    (exhibit,) = published_table(made)
    data = exhibit.table.data
    row = data[(data["method"] == "CLIP-IQA") & (data["statistic"] == "plcc")].iloc[0]
    fitted = made.runs[0].agreement.set_index(["score", "statistic"])["value"][("q_sim", "plcc_logistic")]
    assert row["measured"] == fitted and "official fit (start_values)" in row["remarks"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backbone": DEMO}, DEMO["label"]),
        ({"backbone": {**RN50, "kind": "given", "label": "synthetic"}}, "synthetic"),
        ({"backbone": {**RN50, "kind": "synthetic"}}, "synthetic"),
        ({"backbone": {**RN50, "pretrained": "cc12m"}}, "weights cc12m"),
        ({"dataset": {"every": 10}}, "one row in 10"),
        ({"dataset": {"skipped": [{"image": "x", "reason": "truncated"}]}}, "1 images were skipped"),
        ({"choices": {"prompts": "high_low_quality", "views": "global"}}, None),
        ({"backbone": {**RN50, "name": "RN101"}}, None),
        ({"choices": {**WHOLE, "dataset": "koniq"}}, None),
        ({"choices": {"dataset": "spaq_512"}}, None),
    ],
)
def test_other_weights_subsets_protocols_and_sets_never_stand_beside_published_values(
    tmp_path, options, reason
):
    made = published_runs(tmp_path, **options)
    assert list(published_table(made)) == []
    assert reason is None or reason in refused(made)[0]


@pytest.mark.slow
def test_published_rows_keep_to_their_set_count_kind_of_plcc_and_grade(base, tmp_path):
    published_runs(tmp_path)

    def table(*names: str) -> Table:
        return table_of(Material.read([tmp_path / "run"], Asked(published=names)))

    own = tmp_path / "own.csv"
    own.write_text(
        "method,dataset,statistic,value,cite\nTheirs,koniq_test,srcc,0.9,they2020\n"
        "Theirs,koniq_test,plcc,0.8,they2020\nTheirs,spaq,srcc,0.7,they2020\n"
    )
    made = table("CLIP-IQA", str(own))
    by = rows_of(made)
    assert [c.text for c in by["Theirs [@they2020]"]] == ["0.900", "–"]  # its PLCC is raw, the column is not
    (quoted,) = [cells for name, cells in by.items() if name.startswith("CLIP-IQA [@arxiv")]
    assert quoted[0].text == "0.695" and not quoted[0].mark
    assert r"Theirs~\cite{they2020}" in latex(made, "x") and "[@" not in made.text() + made.markdown()
    for name, message in (
        ("MA-CLIP", "grade C"),
        ("nosuch", "published=nosuch is not known"),
        ("IL-NIQE", "no value of it is of a data set"),
    ):
        with pytest.raises(UserError, match=message):
            table(name)
    with pytest.raises(UserError, match="never set beside a published number"):
        table_of(Material.read([base / "demo"], Asked(published=["CLIP-IQA"])))


# --- ablations


def test_a_numeric_axis_is_printed_in_steps_and_categories_are_never_left_out(material, tmp_path):
    (exhibit,) = ablation_tables(material)
    names = [row[0].text for row in exhibit.table.rows]
    assert {"λ = -1.00", "λ = 0.00", "λ = 0.36", "λ = 0.50 (reference)"} <= set(names) and len(names) == 6
    (detail,) = [e for e in ablation_details(material) if e.table]
    assert "λ = 0.10" in [row[0].text for row in detail.table.rows] and len(detail.table.rows) == 22
    assert "Mean SRCC within generators" in [name for _, name in detail.table.columns]
    assert (
        "simultaneous 95 % interval." in detail.caption
        and "Other intervals: 95 %, pointwise." in detail.table.notes
    )
    assert len(exhibit.table.data) == 101
    folder = write_ablation(tmp_path / "many")
    table = pd.read_csv(folder / "ablation.csv").drop(columns="lam")
    put(table.assign(variant=[f"option {i}" for i in range(101)]), folder / "ablation.csv")
    edit_record(folder, ablation={"name": "fusion", "parameter": None, "reference": "option 3"})
    (exhibit,) = ablation_tables(Material.read([folder], Asked()))
    assert sum(row[0].text.lower().count("option") for row in exhibit.table.rows) == 101
    assert latex(exhibit.table, "x").count(r"\begin{table}") > 1


def varied(folder: Path, data: str, srcc: dict[str, float], **about) -> Path:
    """Write an ablation of a few variants on a data set."""
    table = pd.DataFrame({"variant": list(srcc), "srcc": list(srcc.values()), **about.pop("columns", {})})
    put(table, write_ablation(folder) / "ablation.csv")
    about = {"parameter": None, "score": "q", "reference": next(iter(srcc)), **about}
    edit_record(folder, ablation=about, dataset={"name": data})
    return folder


def ablation_of(*folders: Path) -> Table:
    (exhibit,) = ablation_tables(Material.read(folders, Asked()))
    return exhibit.table


def test_a_sign_marks_the_best_at_an_edge_and_rows_of_one_ranking_are_one(tmp_path):
    lam = np.round(np.linspace(-1, 1, 41), 2)
    fused = {"adaptive": 0.5, "similarity only": 0.4, "fixed, weight of similarity = 0.75": 0.3}
    like = {"adaptive": 0.5, "similarity only": 0.3, "fixed, weight of similarity = 0.75": 0.3}
    folders = [
        varied(tmp_path / f"f_{k}", k, v, name="fusion") for k, v in (("spaq", fused), ("koniq", like))
    ]
    for k, best in (("spaq", -1.0), ("koniq", 0.9)):
        srcc = {f"lam={x:g}": 0.39 - 0.1 * (x - best) ** 2 for x in lam}
        columns = {"magnitude.lam": lam, "plcc": np.arange(len(lam)) / 100}
        folders.append(
            varied(tmp_path / f"l_{k}", k, srcc, name="lambda", reference="lam=0.5", columns=columns)
        )
    edit_record(folders[0], dataset={"n": 60, "expected": 11125})
    table = ablation_of(*folders)
    assert table.notes[-1] == "n: SPAQ 60."
    by = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert by["Fixed, weight of similarity = 0.75"] == [
        "0.300",
        "0.300§",
    ]  # which similarity alone has on koniq
    assert by["Similarity only"] == ["0.400", "0.300"]
    assert by["λ = -1"][0] == "0.390‡" and by["λ = 1"][1] == "0.389" and "λ = 0.5 (reference)" in by
    assert "Bold: best printed row of each block and column." in table.notes
    assert table.notes[1].startswith("‡") and "equal to the similarity cue to three digits" in table.notes[2]
    assert "No SRCC differs" in table.notes[3]
    alone = ablation_of(folders[1])
    assert [row[0].text for row in alone.rows][1] == (
        "Similarity only, Fixed, weight of similarity = 0.75 (same ranking)"
    )


def test_ablations_of_a_second_method_on_the_same_data_stand_apart_with_their_folder(tmp_path):
    lam = np.round(np.linspace(-1, 1, 5), 1)
    for k, top in enumerate((0.5, 0.3)):
        srcc = {f"lam={x:g}": top - 0.1 * x**2 for x in lam}
        varied(
            tmp_path / f"l{k}", "spaq", srcc, name="lambda", reference="lam=0", columns={"magnitude.lam": lam}
        )
        varied(tmp_path / f"f{k}", "spaq", {"adaptive": 0.5, "similarity only": top - 0.1}, name="fusion")
    for folder in ("l1", "f1"):
        edit_record(tmp_path / folder, choices={"prompts": "clipiqa"})
    material = Material.read([tmp_path / name for name in ("l0", "f0", "l1", "f1")], Asked())
    (table,) = [e.table for e in ablation_tables(material)]
    titles = ["λ", "Fusion", "λ [l1]", "Fusion [f1]"]
    assert list(table.blocks.values()) == titles
    shown = [
        float(row[1].text.strip("§‡")) for row in table.rows if row[0].text.startswith(("λ = 0 ", "Sim"))
    ]
    assert shown == [0.5, 0.4, 0.3, 0.2]
    details = [e for e in ablation_details(material) if e.table]
    assert [e.caption.partition(":")[0] for e in details] == titles
    first, second = ablation_curves(material)
    assert second.caption == f"{first.caption} Folder: l1."


def test_steps_are_those_of_the_rows_and_bases_go_by_their_difference(tmp_path):
    base = np.round(np.linspace(-2, 2, 21), 1)
    srcc = {f"base_sim={x:g}, base_mag=0": 0.5 - 0.1 * (x - 0.4) ** 2 for x in base}
    columns = {"fusion.base_sim": base, "fusion.base_mag": 0.0}
    folder = varied(tmp_path / "base", "spaq", srcc, name="base", reference="base_sim=0.4, base_mag=0",
                    columns=columns)  # fmt: skip
    edit_record(folder, config={"fusion": {"base_sim": 1.0, "base_mag": 0.6}})
    table = ablation_of(folder)
    assert [row[0].text for row in table.rows] == ["-2", "-1", "0", "0.4 (reference)", "1", "2"]
    (curve,) = ablation_curves(Material.read([folder], Asked()))
    assert (
        "over the base of similarity minus base of magnitude on" in curve.caption
        and "reference, 0.4." in curve.caption
    )


def test_rows_go_without_the_word_of_their_block_and_code_words(tmp_path):
    pairs = {"prompts.pairs": ["a / b | c / d", "a / b", "c / d"]}
    folders = [
        varied(tmp_path / "a", "spaq", {"magnitude=std": 0.1, "magnitude=l1": 0.2}, name="magnitude"),
        varied(tmp_path / "b", "spaq", {"prompts=high_low_quality": 0.1, "prompts=maclip": 0.2}, name="prompts"),
        varied(tmp_path / "c", "spaq", {"as configured": 0.1, "pairs=a / b": 0.2, "pairs=c / d": 0.3}, name="pairs",
               columns=pairs),
        varied(tmp_path / "d", "spaq", {"stride 128": 0.1, "stride 64": 0.2}, name="stride"),
    ]  # fmt: skip
    assert [row[0].text for row in ablation_of(*folders).rows] == [
        *(
            "Standard deviation (reference)",
            "L1 norm",
            "High quality / Low quality prompts (reference)",
            "MA-CLIP prompts",
        ),
        *("All 2 pairs (reference)", "a / b", "c / d", "Stride 128 (reference)", "Stride 64"),
    ]


def test_a_table_over_two_pages_has_one_number_and_names_the_block_that_goes_on():
    rows = [[Cell(f"r{k}", f"r{k}"), Cell("0.5", 0.5)] for k in range(70)]
    table = Table(
        "long", "Title", [("", "name"), ("", "SRCC")], rows, notes=["Bold: best."], blocks={0: "Block"}
    )
    first, second = latex(table, table.title, table.notes).split(r"\end{table}")[:2]
    assert r"\caption{Title}" in first and "Bold: best." in first and r"\label{tab:long}" in first
    assert r"Table~\ref{tab:long} (continued)." in second and r"\emph{Block}" in second
    assert r"\caption" not in second and "Bold" not in second


def test_differences_of_an_experiment_have_the_intervals_of_their_adjusted_p(tmp_path):
    low, high = {"diff_low": [0.09, 0.19], "ci_simultaneous_low": [0.05, 0.15]}, {"diff_high": [0.11, 0.21]}
    rows = {"cue": ["q", "q_sim"], "diff": [0.1, 0.2], **low, **high, "ci_simultaneous_high": [0.15, 0.25]}
    folder = write_ablation(tmp_path / "any")
    put(pd.DataFrame(rows).assign(p_adjusted=[0.02, 0.01]), folder / "main.csv")
    edit_record(folder, command="experiment", experiment={"name": "main"})
    (exhibit,) = experiments(Material.read([folder], Asked()))
    assert exhibit.table.rows[0][1].detail == "[+0.050, +0.150]"
    assert any("simultaneous 95 % intervals" in note for note in exhibit.table.notes)
    assert "p: adjusted over the rows of this table." in exhibit.table.notes


def test_a_comparisons_matrix_is_antisymmetric_and_stars_what_is_significant(material):
    (sheet,) = [s for s in material.sheets if s.record["command"] == "compare"]
    row = sheet.table[sheet.table["statistic"] == "srcc"].iloc[0]
    values, words = matrix(sheet.table[sheet.table["statistic"] == "srcc"], {})
    assert not np.nan_to_num(values.to_numpy() + values.to_numpy().T).any()
    assert ("*" in words.iloc[0, 1]) == (row["p_adjusted"] < 0.05)
    figure, pairs = comparisons(material)
    assert figure.kind == "matrix" and pairs.kind == "pairs"
    (cell,) = [c for c in pairs.table.rows[0] if c.value == row["diff"]]
    assert cell.detail == f"[{row['ci_simultaneous_low']:+.3f}, {row['ci_simultaneous_high']:+.3f}]"


# --- any CSV, cells, typesetting


def test_any_csv_becomes_a_table_with_its_intervals_in_one_cell():
    frame = pd.DataFrame({"prompts": ["x", "y", "z"], "score": ["a", "b", "c (control)"], "same": 3})
    frame = frame.assign(srcc=[0.5, 0.25, 0.9], srcc_low=[0.4, 0.2, 0.8], srcc_high=[0.6, 0.3, 1.0])
    table = frame_table(frame, best=["srcc"])
    assert [name for _, name in table.columns] == ["Prompts", "Score", "SRCC"]
    assert (table.rows[0][2].text, table.rows[0][2].detail) == ("0.500", "[0.400, 0.600]")
    assert [row[2].mark for row in table.rows] == ["best", "second", ""]  # a control is never the best
    assert table.notes == ["All rows: Same = 3."]


def test_numbers_have_no_negative_zero_and_small_p_a_bound():
    assert number(-0.0001, form=".3f").text == "0.000" and number(-0.01, form=".3f").text == "-0.010"
    assert [p_cell(p).text for p in (0.0005, 0.0453, np.nan)] == ["< 0.001", "0.045", "–"]


SMALL = Table(
    "small",
    "A & B_c",
    [("", "method"), ("set 1", "SRCC"), ("set 1", "PLCC")],
    [
        [Cell("a|b*c", "a"), Cell("0.500", 0.5, "best", "[0.4, 0.6]"), Cell("-0.100†", -0.1, "second")],
        [Cell("[5mm] $x_1$", "b"), Cell("–"), Cell("0.050", 0.05)],
        [Cell("* 50 %", "c"), Cell("–"), Cell("0.050", 0.05)],
    ],
    pd.DataFrame(),
    ["p < 0.05"],
    blocks={1: "Others"},
)


def test_markdown_marks_best_and_second_and_escapes():
    lines = SMALL.markdown().splitlines()
    assert lines[2] == "| method | set 1 SRCC | set 1 PLCC |"
    assert lines[4] == r"| a\|b\*c | **0.500** \[0.4, 0.6\] | <u>-0.100†</u> |"
    assert lines[5].startswith("| *Others* |") and "p &lt; 0.05" in lines[-1]


def test_latex_has_spans_blocks_marks_and_rows_that_no_command_swallows():
    text = latex(SMALL, SMALL.title, SMALL.notes)
    for part in (
        r" & \multicolumn{2}{c}{set 1} \\",
        r"\textbf{0.500} {\scriptsize {}[0.4, 0.6]} & \underline{$-$0.100}$^{\dagger}$ \\",
        r"\emph{Others}",
        r"{}[5mm] \$x\_1\$ & --",
        r"{}* 50~\% & --",
        r"\caption{A \& B\_c}",
    ):
        assert part in text, part


def test_latex_escapes_every_character_and_prints_no_two_names_alike():
    escaped = tex(r"\ & % $ # _ { } ~ ^")
    assert escaped == r"\textbackslash{} \& \% \$ \# \_ \{ \} \textasciitilde{} \textasciicircum{}"
    assert tex("Wrocław β\x07") == r"Wrocław $\beta$\textbackslash{}x07"
    assert tex("ε² § ✓") == r"$\epsilon$$^{2}$ $^{\S}$ yes"
    names = ["夜景", "人像", "风景", "Москва", "Минск"]
    shown = [tex(name) for name in names]
    assert len({text.partition("}")[0] for text in shown}) == 5 and not any("?" in text for text in shown)
    assert all(name in text for name, text in zip(names, shown, strict=True))
