"""A paper's folder: it compiles, its protocol says what the records hold, its exhibits can be chosen."""

import re
import shutil
from functools import reduce
from operator import getitem
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from runs import DEMO, edit_record, undrawn, write_ablation, write_run

from magiqa.cli.main import main
from magiqa.errors import UserError
from magiqa.report.exhibits import exhibits
from magiqa.report.material import Asked, Material
from magiqa.report.paper import paper
from magiqa.report.protocol import full_protocol, method_parts, protocol
from magiqa.report.report import report
from magiqa.runs.read import read
from magiqa.studies.ablate import write_transfer


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
    with pytest.raises(UserError, match="only=tables is not known: use main"):
        paper(folders, tmp_path, Asked(only=("tables",)))


def test_the_protocol_is_short_and_says_what_the_records_hold(material):
    text = protocol(material)
    assert len(text.split()) <= 300
    for part in ("AGIQA-3K (60 images) [@li2023agiqa3k]", "KonIQ-10k test (80 images)", "MA-CLIP", "5 pairs",
                 "stride 128",
                 "λ = 0.5", "α = 1", DEMO["label"], "say nothing about published CLIP weights"):  # fmt: skip
        assert part in text, part
    assert "pandas" not in text and any("pandas" in line for line in full_protocol(material))
    demo = {
        "dataset": {"name": "sample", "n": 768, "label": "ssim"},
        "backbone": {"name": "demo", "kind": "demo"},
    }
    text = protocol(Material([], [SimpleNamespace(record=demo)], [], Asked()))
    assert text.count("16 photos") == 1 and text.count("The demo backbone is") == 1 and "SSIM" in text


def test_the_protocol_names_subsets_other_programs_and_the_supplement_once(tmp_path):
    run = write_run(tmp_path / "run", dataset={"name": "spaq", "expected": 11125})
    scores = pd.read_csv(run / "scores.csv")
    scores.assign(Other=scores["mos"])[["image", "Other"]].to_csv(tmp_path / "other.csv", index=False)
    text = protocol(Material.read([run], Asked(metrics=[tmp_path / "other.csv"])))
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


def test_a_report_and_a_paper_of_other_results_do_not_share_a_folder(base, tmp_path):
    with undrawn:
        report([base / "grid"], tmp_path)
    with pytest.raises(UserError, match="report"):
        paper([base / "grid"], tmp_path)


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
    assert "KonIQ-10k" in text and "λ = " in text and "best on the other data sets" in text
    assert "koniq" not in text and "lam=" not in text and "chosen_on" not in text
    assert "Not among them: CSIQ (not in the same sweep); magiqa sample (SSIM)." in text


@pytest.mark.slow
def test_names_that_differ_in_case_alone_get_files_of_their_own(base, tmp_path):
    for name in ("grid", "GRID"):
        shutil.copytree(base / "grid", tmp_path / name)
        edit_record(tmp_path / name, name=name)
    made = Material.read([tmp_path / "grid", tmp_path / "GRID"], Asked())
    names = [(e.table is None, e.name.lower()) for _, e in exhibits(made)]
    assert len(set(names)) == len(names) > 3
