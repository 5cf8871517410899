"""The command line end to end: what is written where, the second run, sweeps, and every bad input's one line."""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from magiqa.cli import main as cli
from magiqa.method.fusion import Adaptive

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
    assert code == 0 and all(part in out for part in ("n = 6", "untrained, seed 0", "PLCC, fit"))
    folder = tmp_path / "out dir"
    files = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    assert {"scores.csv", "agreement.csv", "groups.csv", "record.json", "views.csv"} <= files
    pictures = {f.removesuffix(".png") for f in files if f.endswith(".png")}
    assert pictures == {f.removesuffix(".pdf") for f in files if f.endswith(".pdf")} != set()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "my, set = [1]", "out dir"]
    assert sorted(root.iterdir()) == before

    scores = pd.read_csv(folder / "scores.csv")
    assert scores["image"].tolist() == [f"image {i}.png" for i in range(6)]
    assert scores["mos"].tolist() == [6, 5, 4, 3, 2, 1]
    assert scores["bytes"].tolist() == [(root / name).stat().st_size for name in scores["image"]]
    table = pd.read_csv(folder / "agreement.csv")
    assert set(table["score"]) == {"q_sim", "q_mag", "q", "laplacian", "bytes"} and (table["n"] == 6).all()
    # noise raises the Laplacian and lowers the rating: the sign stays
    values = table.set_index(["score", "statistic"])["value"]
    assert values["laplacian", "srcc"] == pytest.approx(-1)

    views = pd.read_csv(folder / "views.csv")
    assert len(views) == 6 * 2 * 5  # one window and the global view, five prompt pairs
    first = views.drop_duplicates(["image", "view"])
    np.testing.assert_allclose(first["q"], Adaptive()(first["q_sim"], first["q_mag"])[0], atol=1e-12)
    np.testing.assert_allclose(first.groupby("image", sort=False)["q"].mean(), scores["q"], atol=1e-12)
    record = json.loads((folder / "record.json").read_text())
    assert record["dataset"]["n"] == 6 and record["views"]["count"] == 12
    assert record["backbone"]["label"] == "untrained, seed 0" and record["fits"]["q"]["status"] == "ok"


@pytest.mark.slow
def test_a_sweep_writes_a_folder_a_job_and_one_table_when_some_jobs_fail_too(run, tmp_path):
    args = [*folder_args(make_set(tmp_path / "set")), "figures=false", "out=sweep", "-m"]
    code, out, err = run("evaluate", *args, "fusion.alpha=0,1,abc")
    assert code == 2 and "fusion.alpha=abc must be a finite number" in err
    assert pd.read_csv(tmp_path / "sweep" / "agreement.csv")["run"].nunique() == 2
    markdown = (tmp_path / "sweep" / "table.md").read_text()
    assert all(
        part in markdown for part in ("1 failed", "fusion.alpha=abc", "untrained, seed 0", "bytes (control)")
    )
    assert len([p for p in (tmp_path / "sweep").iterdir() if p.is_dir()]) == 2
    assert "1 failed:" in out and "weights: untrained, seed 0" in out
    code, _, err = run("evaluate", *args[:-1])
    assert code == 2 and "out=sweep: holds the record of magiqa evaluate -m, which" in err


@pytest.mark.slow
def test_skip_lists_what_it_leaves_out_and_raise_keeps_what_was_encoded(run, tmp_path):
    root = make_set(tmp_path / "set", 7)
    (root / "image 5.png").write_bytes((root / "image 5.png").read_bytes()[:500])
    code, _, err = run("evaluate", *folder_args(root), "out=o")
    assert code == 2 and "image 5.png: cannot be decoded" in err and "5 images" in run("cache")[1]
    (root / "image 6.png").unlink()
    code, out, _ = run("evaluate", *folder_args(root), "out=o", "on_error=skip", "figures=false")
    assert code == 0 and "(n = 5, 2 skipped)" in out
    record = json.loads((tmp_path / "o" / "record.json").read_text())
    assert {s["image"] for s in record["dataset"]["skipped"]} == {"image 5.png", "image 6.png"}
    assert (record["dataset"]["n"], record["dataset"]["n_annotated"]) == (5, 7)


@pytest.mark.slow
def test_a_folder_used_again_holds_the_last_run_alone(run, tmp_path):
    args = [*folder_args(make_set(tmp_path / "set")), "out=o"]
    assert run("evaluate", *args, "dataset.group_column=kind", "views_file=true")[0] == 0
    mine = [tmp_path / "o" / "notes.txt", tmp_path / "o" / "figures" / "mine.png"]
    for file in mine:
        file.write_text("")
    assert run("compare", "o")[0] == 0 and (tmp_path / "o" / "comparison.json").is_file()
    assert run("evaluate", *args, "figures=false", "fusion.alpha=2")[0] == 0
    left = {f.name for f in (tmp_path / "o").rglob("*") if f.is_file()}
    assert left == {"scores.csv", "agreement.csv", "comparison.csv", "record.json"} | {f.name for f in mine}
    own = pd.read_csv(tmp_path / "o" / "comparison.csv")  # the run's own, nothing of the run before
    assert own[["a", "b", "statistic"]].to_numpy().tolist() == [["q", "q_sim", "srcc"]]


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
    looks = ["-", "--config-dir=x", "-m", "~", "~x=y"]  # of flags, standard input and somebody's home
    for name in looks:
        (tmp_path / name).touch()
    arguments = cli.parse(["score", *looks])[1]
    assert arguments.words == [f"./{name}" for name in looks] and not arguments.overrides
    assert not arguments.sweep and arguments.config_dir is None


def test_help_fits_80_columns_and_names_every_command_option_and_default(capsys):
    assert cli.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert cli.main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"\n  {command} " in overview and f"Example:\n  magiqa {command}" in text
        assert max(map(len, (overview + text).splitlines())) <= 80
        module = importlib.import_module(f"magiqa.cli.{command}")
        for kind in (value for name, value in vars(module).items() if name.endswith("Keys")):
            missing = [f.name for f in fields(kind) if f"{f.name}=" not in text and f"{f.name}." not in text]
            assert not missing, command


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluate", "--config-name=config"], "unrecognized arguments: --config-name=config: everything"),
        (["compare", "a", "equivalence=many"], "equivalence=many must be a finite number"),
        (["score", "x.png", "recursive=maybe"], "recursive=maybe must be true or false"),
        (["report", "x", "out=o", "style.width=wide"], "style.width=wide is not known: use column, page"),
        (["report", "x", "out=o", "foo=1"], "foo=1 is not understood; it takes out="),
        (["cache", "purge"], "cache: purge is not understood"),
        (["encode", "--", "x"], "encode: x is not understood; it takes KEY=VALUE only"),
    ],
)
def test_keys_are_checked_by_their_classes(run, argv, message):
    code, _, err = run(*argv)
    assert code == 2 and err.count("\n") == 1 and message in err


@pytest.mark.slow
def test_encode_fills_the_cache_in_parts_and_evaluate_encodes_nothing(run, tmp_path):
    args = folder_args(make_set(tmp_path / "set"))
    parts = [run("encode", *args, f"part={i}/4")[1].split(" images")[0][-1] for i in (1, 2, 3, 4)]
    assert parts == ["2", "2", "1", "1"]
    assert "6 images, 12 views, 0 of them new" in run("encode", *args)[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "set"]
    for out in ("one", "two"):
        assert run("evaluate", *args, f"out={out}", "figures=false")[0] == 0
        record = json.loads((tmp_path / out / "record.json").read_text())
        assert record["cache"]["views_encoded"] == 0
    for name in ("scores.csv", "agreement.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    code, out, _ = run("cache")
    assert code == 0 and "6 images" in out and "12 views" in out
    assert run("cache", "verify")[0] == run("cache", "prune=all")[0] == 0
    assert not list((tmp_path / "cache" / "features").glob("*/*.safetensors"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["dataset.root=nowhere"], "dataset.root="),
        (["dataset.mos_column=nothing"], "labels.csv: no column nothing"),
        (["out=file"], "out=file: cannot be written"),
        (["part=1/4"], "part=1/4 is for magiqa encode: scores need the whole set; drop it"),
        (["fusion.alhpa=2"], "did you mean fusion.alpha?"),
        (["engine=fast"], "engine=fast is not known: use auto, "),
        (["device=tpu"], "device=tpu is not known: use auto, cpu, cuda, cuda:N or mps"),
        (["backbone.untrained=null", "backbone.checkpoint=x.pt"], "backbone.checkpoint=x.pt: no such file"),
    ],
)
@pytest.mark.slow
def test_bad_input_takes_one_line_before_images_are_hashed_or_weights_read(
    run, tmp_path, monkeypatch, extra, message
):
    def early(*_):
        raise AssertionError("too early")

    monkeypatch.setattr("magiqa.features.images.hash_files", early)
    root = make_set(tmp_path / "set")
    (tmp_path / "file").touch()
    code, out, err = run("evaluate", *folder_args(root), *extra)
    assert code == 2 and message in err and "Traceback" not in out + err
    assert err.startswith("magiqa: ") and err.count("\n") == 1


def test_a_sweep_of_a_study_that_is_not_named_says_so(run):
    code, _, err = run("ablate", "-m", "seed=0,1", "out=x")
    assert code == 2 and err.count("ablation is not set: add ablation=NAME") >= 1
