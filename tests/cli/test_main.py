"""The command line end to end: what is written where, the second run, sweeps, and every bad input's one line."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from magiqa.cli import main as cli
from magiqa.cores import streams, threads
from magiqa.method.fusion import Adaptive
from magiqa.runs.provenance import Clock

REPOSITORY = Path(__file__).parents[2]
DEMO = ["backbone.untrained=0", "engine=torch", "batch_size=4", "workers=1"]


def make_set(root: Path, n: int = 6) -> Path:
    """A folder of n images that get noisier, with ratings, two groups."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    rows = ["image,mos,kind"]
    for i in range(n):
        noise = rng.normal(0, 4 + 8 * i, (230, 240 + i, 3))
        pixels = np.clip(np.linspace(40, 200, 240 + i)[None, :, None] + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"image {i}.png")
        rows.append(f"image {i}.png,{n - i},{'ab'[i % 2]}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder: code, output, error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAGIQA_CACHE", str(tmp_path / "cache"))

    def call(*argv: str) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in argv])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def folder_args(root: Path) -> list[str]:
    return ["dataset=folder", f"dataset.root={root}", *DEMO]


@pytest.mark.slow
def test_evaluate_writes_what_it_says_and_nothing_else(run, tmp_path):
    root = make_set(tmp_path / "my, set = [1]")
    before = sorted(root.iterdir())
    args = [*folder_args(root), "dataset.group_column=kind", f"out={tmp_path / 'out dir'}", "views_file=true"]
    code, out, _ = run("evaluate", *args)
    assert code == 0
    assert "n = 6" in out
    assert "untrained, seed 0" in out
    assert "PLCC, fit" in out and "krcc" not in out
    folder = tmp_path / "out dir"
    files = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    assert {"scores.csv", "agreement.csv", "groups.csv", "record.json", "views.csv"} <= files
    assert {f for f in files if f.endswith(".png")}
    assert {Path(f).with_suffix("") for f in files if f.endswith(".png")} == {
        Path(f).with_suffix("") for f in files if f.endswith(".pdf")
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "my, set = [1]", "out dir"]
    assert sorted(root.iterdir()) == before

    scores = pd.read_csv(folder / "scores.csv")
    assert scores["image"].tolist() == [f"image {i}.png" for i in range(6)]
    assert scores["mos"].tolist() == [6, 5, 4, 3, 2, 1]
    assert scores["bytes"].tolist() == [(root / name).stat().st_size for name in scores["image"]]
    assert scores["width"].tolist() == [240 + i for i in range(6)]
    table = pd.read_csv(folder / "agreement.csv")
    kept = ["score", "statistic", "value", "ci_low", "ci_high", "n"]
    kept += ["loo_group_low", "loo_group_high", "ci_groups_low", "ci_groups_high", "withheld", "fit"]
    assert list(table.columns) == kept
    assert set(table["score"]) == {"q_sim", "q_mag", "q", "laplacian", "bytes"}
    assert (table["n"] == 6).all()
    # noise raises the Laplacian and lowers the rating: the sign stays
    at = table.set_index(["score", "statistic"])["value"]
    assert at["laplacian", "srcc"] == pytest.approx(-1)

    views = pd.read_csv(folder / "views.csv")
    assert len(views) == 6 * 2 * 5  # one window and the global view, five prompt pairs
    one = views.drop_duplicates(["image", "view"])
    q, _ = Adaptive()(one["q_sim"], one["q_mag"])
    np.testing.assert_allclose(one["q"], q, atol=1e-12)
    np.testing.assert_allclose(one.groupby("image", sort=False)["q"].mean(), scores["q"], atol=1e-12)
    np.testing.assert_allclose(
        views.groupby(["image", "view"])["similarity"].mean().to_numpy(), one["q_sim"], atol=1e-12
    )

    record = json.loads((folder / "record.json").read_text())
    assert record["dataset"]["n"] == 6
    assert record["backbone"]["label"] == "untrained, seed 0"
    assert record["views"]["count"] == 12
    assert len(record["backbone"]["weights_sha256"]) == 64
    assert record["fits"]["q"]["status"] == "ok"


@pytest.mark.slow
def test_a_second_run_encodes_nothing_and_gives_the_same_bytes(run, tmp_path):
    root = make_set(tmp_path / "set")
    for out in ("one", "two"):
        assert run("evaluate", *folder_args(root), f"out={out}", "figures=false")[0] == 0
    for name in ("scores.csv", "agreement.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    encoded = [
        json.loads((tmp_path / d / "record.json").read_text())["cache"]["views_encoded"]
        for d in ("one", "two")
    ]
    assert encoded == [12, 0]


@pytest.mark.slow
def test_encode_fills_the_cache_and_nothing_else(run, tmp_path):
    root = make_set(tmp_path / "set")
    code, out, _ = run("encode", *folder_args(root))
    assert code == 0
    assert "6 images, 12 views, 12 of them new; torch fp32 cpu; " in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "set"]
    assert "12 views, 0 of them new" in run("encode", *folder_args(root))[1]
    code, out, _ = run("cache")
    assert code == 0
    assert "6 images" in out
    assert "12 views" in out
    assert run("cache", "verify")[0] == 0
    code, out, _ = run("cache", "prune=all")
    assert code == 0
    assert not list((tmp_path / "cache" / "features").glob("*/*.safetensors"))


@pytest.mark.slow
def test_parts_of_an_encode_fill_one_cache_and_nothing_is_scored_on_a_part(run, tmp_path):
    root = make_set(tmp_path / "set")
    counts = [
        run("encode", *folder_args(root), f"part={i}/4")[1].split(" images")[0][-1] for i in (1, 2, 3, 4)
    ]
    assert counts == ["2", "2", "1", "1"]
    assert "12 views, 0 of them new" in run("encode", *folder_args(root))[1]
    code, _, err = run("evaluate", *folder_args(root), "part=1/4")
    assert code == 2
    assert "part=1/4 is for magiqa encode: scores need the whole set; drop it" in err
    assert "part=5/4 must be I/N" in run("encode", *folder_args(root), "part=5/4")[2]


@pytest.mark.slow
def test_a_sweep_writes_a_folder_a_job_and_one_table_when_some_jobs_fail_too(run, tmp_path):
    root = make_set(tmp_path / "set")
    args = [*folder_args(root), "figures=false", "fusion.alpha=0,1,abc", f"out={tmp_path / 'sweep'}", "-m"]
    code, out, err = run("evaluate", *args)
    assert code == 2
    assert "fusion.alpha=abc must be a finite number" in err
    table = pd.read_csv(tmp_path / "sweep" / "agreement.csv")
    assert table["run"].nunique() == 2
    markdown = (tmp_path / "sweep" / "table.md").read_text()
    assert "1 failed" in markdown
    assert "fusion.alpha=abc" in markdown
    assert "untrained, seed 0" in markdown
    assert len([p for p in (tmp_path / "sweep").iterdir() if p.is_dir()]) == 2
    assert "1 failed:" in out and "weights: untrained, seed 0" in out


@pytest.mark.slow
def test_files_that_no_record_claims_are_never_overwritten(run, tmp_path):
    root = make_set(tmp_path / "set")
    ratings = (root / "labels.csv").read_text()
    (root / "scores.csv").write_text(ratings)
    code, _, err = run("evaluate", *folder_args(root), "dataset.annotation=scores.csv", f"out={root}")
    assert code == 2
    assert (
        f"{root}/scores.csv: would be overwritten, and no record there says that magiqa wrote it; move it"
        in err
    )
    assert (root / "scores.csv").read_text() == ratings
    args = [*folder_args(root), "figures=false"]
    assert run("evaluate", *args, "out=o")[0] == 0
    before = (tmp_path / "o" / "agreement.csv").read_bytes()
    code, _, err = run("evaluate", "-m", *args, "fusion.alpha=0,1", "out=o")
    assert (
        code == 2
        and "out=o: holds the record of magiqa evaluate, which magiqa evaluate -m would overwrite" in err
    )
    assert (tmp_path / "o" / "agreement.csv").read_bytes() == before
    assert run("evaluate", "-m", *args, "fusion.alpha=0,1", "out=s")[0] == 0
    assert run("evaluate", "-m", *args, "fusion.alpha=0,1", "out=s")[0] == 0  # its own
    code, _, err = run("evaluate", *args, "out=s")
    assert code == 2 and "out=s: holds the record of magiqa evaluate -m, which magiqa evaluate would" in err
    for name, command in (("record.json", ()), ("agreement.csv", ("-m", "fusion.alpha=0,1"))):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text('{"mine": 1}')
        code, _, err = run("evaluate", *args, "out=mine", *command)
        assert code == 2 and f"mine/{name}: would be overwritten, and no record there says" in err
        assert (tmp_path / "mine" / name).read_text() == '{"mine": 1}'
        (tmp_path / "mine" / name).unlink()


@pytest.mark.slow
def test_a_sweeps_table_keeps_subsets_apart(run, tmp_path):
    args = [*folder_args(make_set(tmp_path / "set")), "figures=false", "out=s"]
    assert run("evaluate", "-m", *args, "dataset.every=1,2")[0] == 0
    text = (tmp_path / "s" / "table.md").read_text()
    assert "(n = 6) SRCC | " in text and "(n = 3, one row in 2) PLCC" in text


@pytest.mark.slow
def test_no_intervals_are_explained(run, tmp_path):
    root = make_set(tmp_path / "set")
    args = [*folder_args(root), "figures=false"]
    out = run("evaluate", *args, "dataset.every=2")[1]
    assert "SRCC and PLCC interval omitted for all scores (3 images, fewer than 5)" in out
    assert "figures/" not in out
    table = pd.read_csv(root / "labels.csv")
    table.assign(photo="one").to_csv(root / "labels.csv", index=False)
    out = run("evaluate", *args, "dataset.reference_column=photo")[1]
    assert "omitted for all scores (1 values of reference, fewer than 5)" in " ".join(out.split())
    # six images that a score orders exactly: that nothing is out of order is no certainty
    out = run("evaluate", *args)[1]
    assert "SRCC interval omitted for all scores (too little varies" in " ".join(out.split())


@pytest.mark.slow
def test_skip_lists_what_it_leaves_out_and_raise_keeps_what_was_encoded(run, tmp_path):
    root = make_set(tmp_path / "set", 7)
    (root / "image 5.png").write_bytes((root / "image 5.png").read_bytes()[:500])
    code, _, err = run("evaluate", *folder_args(root), "out=o")
    assert code == 2
    assert "image 5.png: cannot be decoded" in err
    assert "5 images" in run("cache")[1]
    (root / "image 6.png").unlink()
    code, out, _ = run("evaluate", *folder_args(root), "out=o", "on_error=skip", "figures=false")
    assert code == 0
    assert "(n = 5, 2 skipped)" in out
    record = json.loads((tmp_path / "o" / "record.json").read_text())
    assert {s["image"] for s in record["dataset"]["skipped"]} == {"image 5.png", "image 6.png"}
    assert (record["dataset"]["n"], record["dataset"]["n_annotated"]) == (5, 7)
    assert any("2 of 7 images left out" in w for w in record["warnings"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["dataset.root=nowhere"], "dataset.root="),
        (["dataset.mos_column=nothing"], "labels.csv: no column nothing"),
        (
            ["backbone=rn50", "backbone.untrained=null", "backbone.checkpoint=x.pt"],
            "checkpoint=x.pt: no such file",
        ),
        (["out=file"], "out=file: cannot be written"),
    ],
)
@pytest.mark.slow
def test_bad_input_takes_one_line_with_the_remedy(run, tmp_path, extra, message):
    root = make_set(tmp_path / "set")
    (tmp_path / "file").touch()
    code, out, err = run("evaluate", *folder_args(root), *extra)
    lines = [line for line in err.replace("\r", "\n").splitlines() if line and not line.startswith("encode:")]
    assert code == 2 and message in err and "Traceback" not in out + err
    assert len(lines) == 1 and lines[0].startswith("magiqa: ")  # the progress bar's line apart


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("engine=fast", "engine=fast is not known: use auto, "),
        ("precision=int8", "precision=int8 is not known: use fp32, bf16, fp16"),
        ("device=tpu", "device=tpu is not known: use auto, cpu, cuda, cuda:N or mps"),
        ("backbone.checkpoint=nowhere.pt", "backbone.checkpoint=nowhere.pt: no such file"),
    ],
)
def test_what_is_mistyped_is_told_before_images_are_hashed_or_weights_read(
    run, tmp_path, monkeypatch, typed, message
):
    def early(*_):
        raise AssertionError("too early")

    monkeypatch.setattr("magiqa.features.images.hash_files", early)
    monkeypatch.setattr("magiqa.features.source.load_weights", early)
    args = [a for a in folder_args(make_set(tmp_path / "set")) if a != "backbone.untrained=0"]
    code, _, err = run("evaluate", *args, typed)
    assert code == 2 and err.count("\n") == 1 and message in err


@pytest.mark.slow
def test_a_folder_used_again_holds_the_last_run_alone(run, tmp_path):
    args = [*folder_args(make_set(tmp_path / "set")), "out=o"]
    assert run("evaluate", *args, "dataset.group_column=kind", "views_file=true")[0] == 0
    mine = [tmp_path / "o" / "notes.txt", tmp_path / "o" / "figures" / "mine.png"]
    for file in mine:
        file.write_text("")
    assert run("evaluate", *args, "figures=false", "fusion.alpha=2")[0] == 0
    left = {f.name for f in (tmp_path / "o").rglob("*") if f.is_file()}
    assert left == {"scores.csv", "agreement.csv", "comparison.csv", "record.json"} | {f.name for f in mine}

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "record.json").write_text('{"magiqa": "0.1.0", "command": "ablate"}')
    code, _, err = run("evaluate", *args[:-1], "out=other")
    assert (
        code == 2
        and "out=other: holds the record of magiqa ablate, which magiqa evaluate would overwrite" in err
    )

    assert run("compare", "o")[0] == 0
    assert (
        len(pd.read_csv(tmp_path / "o" / "comparison.csv")) > 2
        and (tmp_path / "o" / "comparison.json").is_file()
    )
    assert run("evaluate", *args, "fusion.alpha=4", "figures=false")[0] == 0
    own = pd.read_csv(tmp_path / "o" / "comparison.csv")  # the run's own, nothing of the run before
    assert own[["a", "b", "statistic"]].to_numpy().tolist() == [["q", "q_sim", "srcc"]]
    assert not (tmp_path / "o" / "comparison.json").exists()


@pytest.mark.slow
def test_the_record_says_how_the_engine_ran_and_counts_no_second_twice(run, tmp_path):
    args = [*folder_args(make_set(tmp_path / "set")), "out=o", "figures=false"]
    begin = time.perf_counter()
    assert run("evaluate", *args)[0] == 0
    passed = time.perf_counter() - begin
    record = json.loads((tmp_path / "o" / "record.json").read_text())
    engine, seconds = record["engine"], record["seconds"]
    assert engine["streams"] == streams("cpu") and engine["threads"] == threads()
    assert engine["batch_size"] == 4 and {"engine", "encode"} <= set(seconds)
    assert min(seconds.values()) >= 0 and sum(seconds.values()) <= passed + 0.01


def test_a_stage_does_not_count_the_stages_inside_it(monkeypatch):
    ticks = iter([0, 1, 4, 5, 6, 10])  # begin of outer, begin and end of inner twice, end of outer
    monkeypatch.setattr("magiqa.runs.provenance.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    clock = Clock()
    with clock.stage("outer"):
        for _ in range(2):
            with clock.stage("inner"):
                pass
    assert clock.seconds == {"inner": 4, "outer": 6}


@pytest.mark.slow
def test_a_corrupt_shard_names_the_remedy_which_works(run, tmp_path):
    root = make_set(tmp_path / "set")
    assert run("encode", *folder_args(root))[0] == 0
    shard = next((tmp_path / "cache" / "features").glob("*/*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-9] ^= 1
    shard.write_bytes(bytes(data))
    code, _, err = run("evaluate", *folder_args(root), "out=o")
    assert code == 2
    assert "is corrupt" in err
    assert "`magiqa cache prune=corrupt`" in err
    assert run("cache", "prune=corrupt")[0] == 0
    assert run("evaluate", *folder_args(root), "out=o", "figures=false")[0] == 0


def test_a_misspelt_key_suggests_the_right_one(run):
    assert "did you mean fusion.alpha?" in run("evaluate", "fusion.alhpa=2")[2]


def test_a_traceback_only_on_request(run, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="alhpa"):
        run("evaluate", "fusion.alhpa=2")


@pytest.mark.long
def test_a_wheel_in_another_folder_evaluates(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    target = tmp_path / "site"
    build = [
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--target",
        str(target),
        str(REPOSITORY),
    ]
    subprocess.run([sys.executable, "-m", *build], check=True)
    root = make_set(tmp_path / "set")
    environment = os.environ | {"PYTHONPATH": str(target), "MAGIQA_CACHE": str(tmp_path / "cache")}
    code = "import magiqa, sys; from magiqa.cli.main import main; print(magiqa.__file__); sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", *folder_args(root), "out=o"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(target))
    assert (tmp_path / "o" / "agreement.csv").is_file()


def test_an_argument_that_exists_as_a_path_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["cache_dir=..", "backbone.checkpoint=x.safetensors", "out=x", "photo.png"]
    for name in names[1:]:
        (tmp_path / name).touch()
    arguments = cli.parse(["score", *names, "top=3"])[1]
    assert arguments.words == names[1:] and arguments.overrides == ["cache_dir=..", "top=3"]


def test_help_fits_80_columns_and_names_every_command_option_and_default(capsys):
    assert cli.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert cli.main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"\n  {command} " in overview and text.startswith(f"magiqa {command}: ")
        assert max(map(len, (overview + text).splitlines())) <= 80
        assert f"Example:\n  magiqa {command}" in text
        assert (Path(__file__).parents[2] / text.split("\nMore: ")[1].strip()).is_file()
        module = importlib.import_module(f"magiqa.cli.{command}")
        for kind in (value for name, value in vars(module).items() if name.endswith("Keys")):
            for field in fields(kind):
                assert f"{field.name}=" in text or f"{field.name}." in text, (command, field.name)
    assert cli.main(["evaluate", "--help"]) == 0
    assert re.search(
        r"backbone=demo +demo, open_clip, rn101, .*device=auto +auto \| cpu",
        capsys.readouterr().out,
        re.DOTALL,
    )


def test_help_without_docstrings_and_by_the_modules_name():
    for options in (["-OO"], []):
        done = subprocess.run(
            [sys.executable, *options, "-m", "magiqa", "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0 and "  score       Score any images" in done.stdout


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["evaluate", "--config-name=config"],
            "unrecognized arguments: --config-name=config: everything but --help",
        ),
        (["evaluate", "--config-dir"], "--config-dir"),
        (["compare", "a", "equivalence=many"], "equivalence=many must be a finite number"),
        (["score", "x.png", "recursive=maybe"], "recursive=maybe must be true or false"),
        (["score", "x.png", "top=0"], "top=0 must be a whole number from 1"),
        (["report", "x", "out=o", "style.width=wide"], "style.width=wide is not known: use column, page"),
        (["report", "x", "out=o", "foo=1"], "foo=1 is not understood; it takes out="),
        (["cache", "purge"], "cache: purge is not understood"),
        (["encode", "--", "x"], "encode: x is not understood; it takes KEY=VALUE only"),
    ],
)
def test_keys_are_checked_by_their_classes(run, argv, message):
    code, _, err = run(*argv)
    assert code == 2 and err.count("\n") == 1 and message in err
