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
import tiny
from scipy.stats import spearmanr

from magiqa.cli import main as cli
from magiqa.method.fusion import Adaptive

REPOSITORY = Path(__file__).parents[2]


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


def typed(folder: Path, *more: str) -> list[str]:
    """Return the overrides of a run that draws figures, with the cache that the environment names."""
    return [
        o for o in tiny.overrides(folder, *more) if o != "figures=false" and not o.startswith("cache_dir")
    ]


@pytest.mark.slow
def test_evaluate_writes_what_it_says_and_nothing_else(run, tmp_path):
    folder, out = tiny.make(tmp_path / "my, set = [1]"), tmp_path / "out dir"
    before = sorted(folder.rglob("*"))
    code, screen, _ = run("evaluate", *typed(folder, f"out={out}", "views_file=true"))
    assert code == 0 and all(part in screen for part in ("n = 24", "untrained, seed 0", "PLCC, fit"))
    files = {str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()}
    assert {"scores.csv", "agreement.csv", "groups.csv", "record.json", "views.csv"} <= files
    pictures = {f.removesuffix(".png") for f in files if f.endswith(".png")}
    assert pictures == {f.removesuffix(".pdf") for f in files if f.endswith(".pdf")} != set()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "my, set = [1]", "out dir"]
    assert sorted(folder.rglob("*")) == before

    scores, labels = pd.read_csv(out / "scores.csv"), pd.read_csv(folder / "set" / "labels.csv")
    assert scores[["image", "mos"]].equals(labels[["image", "mos"]])
    assert scores["bytes"].tolist() == [(folder / "set" / name).stat().st_size for name in scores["image"]]
    table = pd.read_csv(out / "agreement.csv")
    assert set(table["score"]) == {"q_sim", "q_mag", "q", "laplacian", "bytes"}
    values = table.set_index(["score", "statistic"])["value"]
    for name in ("q", "laplacian"):
        srcc = spearmanr(scores[name], scores["mos"])[0]
        assert values[name, "srcc"] == pytest.approx(srcc) and (name == "q" or srcc > 0.8)

    record = json.loads((out / "record.json").read_text())
    assert (record["dataset"]["n"], record["backbone"]["label"]) == (24, "untrained, seed 0")
    views = pd.read_csv(out / "views.csv")
    assert len(views) == record["views"]["count"] * 5  # prompt pairs
    first = views.drop_duplicates(["image", "view"])
    np.testing.assert_allclose(first["q"], Adaptive()(first["q_sim"], first["q_mag"])[0], atol=1e-12)
    np.testing.assert_allclose(first.groupby("image", sort=False)["q"].mean(), scores["q"], atol=1e-12)


@pytest.mark.slow
def test_a_sweep_writes_a_folder_a_job_and_one_table_when_some_jobs_fail_too(run, folder, tmp_path):
    keys = typed(folder, "figures=false", "out=sweep")
    code, out, err = run("evaluate", *keys, "-m", "fusion.alpha=0,1,abc")
    assert code == 2 and "fusion.alpha=abc must be a finite number" in err
    assert pd.read_csv(tmp_path / "sweep" / "agreement.csv")["run"].nunique() == 2
    markdown = (tmp_path / "sweep" / "table.md").read_text()
    for part in ("1 failed", "fusion.alpha=abc", "untrained, seed 0", "bytes (control)"):
        assert part in markdown
    assert len([p for p in (tmp_path / "sweep").iterdir() if p.is_dir()]) == 2
    assert "1 failed:" in out and "weights: untrained, seed 0" in out
    code, _, err = run("evaluate", *keys)
    assert code == 2 and "out=sweep: holds the record of magiqa evaluate -m, which" in err


@pytest.mark.slow
def test_skip_lists_what_it_leaves_out_and_raise_keeps_what_was_encoded(run, tmp_path):
    folder = tiny.make(tmp_path / "own")
    broken = folder / "set" / "05.png"
    broken.write_bytes(broken.read_bytes()[:500])
    keys = typed(folder, "out=o", "figures=false")
    code, _, err = run("evaluate", *keys)
    assert code == 2 and "05.png: cannot be decoded" in err and "5 images" in run("cache")[1]
    (folder / "set" / "06.png").unlink()
    code, out, _ = run("evaluate", *keys, "on_error=skip")
    assert code == 0 and "(n = 22, 2 skipped)" in out
    dataset = json.loads((tmp_path / "o" / "record.json").read_text())["dataset"]
    assert {s["image"] for s in dataset["skipped"]} == {"05.png", "06.png"}
    assert (dataset["n"], dataset["n_annotated"]) == (22, 24)


@pytest.mark.long
def test_a_wheel_in_another_folder_evaluates(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--target", str(target), str(REPOSITORY)], check=True)
    code = "import magiqa, sys; from magiqa.cli.main import main; print(magiqa.__file__); sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "evaluate", *tiny.overrides(tiny.make(tmp_path), "out=o")]
    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
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
        module = vars(importlib.import_module(f"magiqa.cli.{command}"))
        names = [f.name for kind in module if kind.endswith("Keys") for f in fields(module[kind])]
        assert [name for name in names if f"{name}=" not in text and f"{name}." not in text] == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluate", "--config-name=config"], "unrecognized arguments: --config-name=config: everything"),
        (["compare", "a", "equivalence=many"], "equivalence=many must be a finite number"),
        (["score", "x.png", "recursive=maybe"], "recursive=maybe must be true or false"),
        (["report", "x", "out=o", "style.width=wide"], "style.width=wide is not known: use column, page"),
        (["report", "x", "out=o", "foo=1"], "foo=1 is not understood; it takes out="),
        (["ablate", "out=x"], "ablation is not set: add ablation=NAME"),
        (["cache", "purge"], "cache: purge is not understood"),
        (["encode", "--", "x"], "encode: x is not understood; it takes KEY=VALUE only"),
    ],
)
def test_keys_are_checked_by_their_classes(run, argv, message):
    code, _, err = run(*argv)
    assert code == 2 and err.count("\n") == 1 and message in err


@pytest.mark.slow
def test_encode_fills_the_cache_in_parts_and_evaluate_encodes_nothing(run, folder, tmp_path):
    keys = typed(folder, "figures=false")
    parts = [run("encode", *keys, f"part={i}/5")[1].split(" images")[0][-1] for i in range(1, 6)]
    assert parts == ["5", "5", "5", "5", "4"]
    assert "24 images, " in (out := run("encode", *keys)[1]) and " 0 of them new" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache"]
    assert run("evaluate", *keys, "out=o")[0] == 0
    assert json.loads((tmp_path / "o" / "record.json").read_text())["cache"]["views_encoded"] == 0
    code, out, _ = run("cache")
    assert code == 0 and "24 images" in out
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
    run, folder, tmp_path, monkeypatch, extra, message
):
    monkeypatch.setattr("magiqa.features.images.hash_files", lambda *_: pytest.fail("too early"))
    (tmp_path / "file").touch()
    code, out, err = run("evaluate", *typed(folder), *extra)
    assert code == 2 and message in err and "Traceback" not in out + err
    assert err.startswith("magiqa: ") and err.count("\n") == 1
