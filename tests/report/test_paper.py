"""A paper's folder: it compiles, its protocol says what the records hold, its exhibits can be chosen."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from runs import DEMO, write_ablation, write_run

from magiqa.cli.main import main
from magiqa.errors import UserError
from magiqa.report.exhibits import KINDS, exhibits
from magiqa.report.material import Asked, Material
from magiqa.report.paper import paper
from magiqa.report.protocol import full_protocol, method_parts, protocol
from magiqa.report.report import report
from magiqa.studies.ablate import write_transfer


@pytest.fixture(scope="module")
def out(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paper") / "out"
    paper(folders, out)
    return out


def every_text(folder: Path, name: str) -> str:
    text = (folder / name).read_text()
    return text + "".join(
        (folder / f"{t}.tex").read_text() for t in re.findall(r"\\input\{(tables/[^}]*)\}", text)
    )


@pytest.mark.slow
def test_the_folder_holds_what_its_documents_name(out):
    for name in ("results.tex", "supplement.tex"):
        text = every_text(out, name)
        graphics = re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", text)
        assert len(graphics) > 2 and all((out / graphic).is_file() for graphic in graphics)
        assert set(re.findall(r"\\ref\{([^}]*)\}", text)) <= set(re.findall(r"\\label\{([^}]*)\}", text))
    keys = set(re.findall(r"\\cite\{([^}]*)\}", every_text(out, "results.tex")))
    entries = set(re.findall(r"@\w+\{([^,]*),", (out / "references.bib").read_text()))
    assert {"li2023agiqa3k", "radford2021clip", "arxiv2511.09948"} <= keys <= entries
    assert "versions" in (out / "protocol.tex").read_text().lower()


@pytest.mark.slow
def test_only_chooses_the_main_documents_exhibits_and_the_rest_is_the_supplement(folders, tmp_path):
    paper(folders, tmp_path, Asked(only=("main", "ablation")))
    text, rest = ((tmp_path / name).read_text() for name in ("results.tex", "supplement.tex"))
    assert "tables/agreement" in text and "tables/ablations" in text and "includegraphics" not in text
    assert "figures/demo/predicted" in rest and "tables/agreement" not in rest
    with pytest.raises(UserError, match="only=tables is not known: use main"):
        paper(folders, tmp_path, Asked(only=("tables",)))


def test_every_kind_of_exhibit_can_be_chosen(material):
    assert {e.kind for _, e in exhibits(material)} <= set(KINDS)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs and caption")
def test_both_documents_compile_with_nothing_over_the_edge_and_bibtex_finds_all(out, tmp_path):
    shutil.copytree(out, tmp_path / "paper")

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path / "paper", capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout

    for name in ("paper", "supplement"):
        run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex")
        if name == "paper":
            assert "Warning" not in run("bibtex", name)
        for _ in range(2):
            log = run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex")
        assert "undefined" not in log and "Float too large" not in log
        assert max((float(pt) for pt in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)), default=0) < 3


def test_the_protocol_is_short_and_says_what_the_records_hold(material):
    text = protocol(material)
    assert len(text.split()) <= 300
    for part in ("AGIQA-3K (60 images) [@li2023agiqa3k]", "KonIQ-10k test (80 images)", "MA-CLIP", "5 pairs",
                 "stride 128",
                 "λ = 0.5", "α = 1", DEMO["label"], "say nothing about published CLIP weights"):  # fmt: skip
        assert part in text, part
    assert "pandas" not in text and any("pandas" in line for line in full_protocol(material))
    record = {
        "dataset": {"name": "sample", "n": 768, "label": "ssim"},
        "backbone": {"name": "demo", "kind": "demo"},
    }
    sheet = type("S", (), {"record": record})
    text = protocol(Material([], [sheet], [], Asked()))
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
    def words(change):
        record = {
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
            record["changed"] = {".".join(where[1:]): value}
        return method_parts(record)

    assert words(True) != words(False)


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
    report([base / "grid"], tmp_path)
    with pytest.raises(UserError, match="report"):
        paper([base / "grid"], tmp_path)


@pytest.mark.slow
def test_one_set_left_out_is_reported(tmp_path):
    done = []
    for name in ("koniq", "spaq"):
        folder = write_ablation(tmp_path / "sweep" / name, points=9)
        record = json.loads((folder / "record.json").read_text())
        record["dataset"]["name"] = name
        (folder / "record.json").write_text(json.dumps(record))
        done.append((pd.read_csv(folder / "ablation.csv"), record))
    write_transfer(tmp_path / "sweep", done)
    for name, label in (("csiq", "mos"), ("sample", "ssim")):
        alone = write_ablation(tmp_path / "sweep" / name, points=9)
        record = json.loads((alone / "record.json").read_text())
        record["dataset"] |= {"name": name, "label": label}
        (alone / "record.json").write_text(json.dumps(record))
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
        file = tmp_path / name / "record.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"name": name}))
    made = Material.read([tmp_path / "grid", tmp_path / "GRID"], Asked())
    names = [(e.table is None, e.name.lower()) for _, e in exhibits(made)]
    assert len(set(names)) == len(names) > 3
