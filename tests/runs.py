"""Small synthetic run and ablation folders in the format of `magiqa evaluate` and `magiqa ablate`."""

import atexit
import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from PIL import Image
from tiny import configs

from magiqa.backbones.weights import Weights
from magiqa.datasets.base import Labels
from magiqa.features.images import Features, Images
from magiqa.images.controls import laplacian_variance
from magiqa.studies import evaluate

DEMO = {
    "name": "demo",
    "kind": "demo",
    "label": "demo, trained on synthetic degradations",
    "pretrained": None,
}
RN50 = {"name": "RN50", "kind": "published", "label": None, "pretrained": "openai"}
NASTY = "a <b>\"&' | $x_1$ `*`.png"


def list_files(folder: Path) -> Path:
    """Have a folder's record list what lies there now, as if the command had written it so."""
    file = folder / "record.json"
    record = json.loads(file.read_text())
    written = [p for p in folder.rglob("*") if p.is_file() and p != file]
    record["files"] = {
        p.relative_to(folder).as_posix(): {"sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
        for p in written
    }
    file.write_text(json.dumps(record))
    return folder


def put(table: pd.DataFrame, file: Path) -> None:
    """Write a table into a run's folder, as if the command had."""
    table.to_csv(file, index=False)
    list_files(file.parent)


@cache
def _job(overrides: tuple[str, ...]):
    return configs().job(list(overrides))


@cache
def _templates() -> Path:
    """Return a folder for the runs of this process, which goes with it."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def write_run(
    folder: Path, *, backbone: dict[str, Any] = DEMO, dataset: dict[str, Any] | None = None, **options: Any
) -> Path:
    """Write a run's folder whose record names this backbone and data set; `make_run` says the other options.

    Runs with the same other options are made once and copied.
    """
    key = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
    template = _templates() / key
    if not template.exists() or options.get("images"):
        make_run(template, **options)
    shutil.copytree(template, folder, dirs_exist_ok=True)
    record = json.loads((folder / "record.json").read_text()) | {"name": folder.name}
    record["backbone"] |= backbone
    record["dataset"] |= dataset or {}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def make_run(
    folder: Path,
    *,
    n: int = 60,
    choices: dict[str, str] | None = None,
    images: Path | None = None,
    groups: int = 3,
    noise: float = 0.5,
    seed: int = 0,
) -> Path:
    """Write a run's folder; with `images`, its image files too. Labels depend on n only."""
    chosen = {"prompts": "maclip", "views": "maclip", "magnitude": "boxcox", "fusion": "adaptive"}
    chosen = {"dataset": "agiqa3k", **chosen, **(choices or {})}
    root = [] if chosen["dataset"] == "sample" else [f"dataset.root={images or 'nowhere'}"]
    typed = (*(f"{g}={o}" for g, o in chosen.items()), *root, "figures=false")
    job = _job(typed).having(out=str(folder))
    names = [NASTY, *(f"image-{i:04d}.png" for i in range(1, n))]
    mos = np.round(np.random.default_rng(n).uniform(1, 5, n), 3)
    mos[0] = 4.9
    rng = np.random.default_rng(seed)
    scores = pd.DataFrame({"image": names, "mos": mos})
    scores["q_sim"] = 0.4 + 0.1 * mos + noise * rng.normal(0, 0.1, n)
    scores["q_mag"] = 1.0 + 0.05 * mos + noise * rng.normal(0, 0.2, n)
    scores.loc[0, "q_sim"] = 0.4  # the image of the nasty name is in every gallery
    scores["q"] = 0.6 * scores["q_sim"] + 0.4 * scores["q_mag"]
    scores["w_sim"] = 0.6
    if groups:
        scores["group"] = [f"gen_{i % groups} <&$>" for i in range(n)]
    scores["width"] = scores["height"] = 48
    scores["bytes"] = 1000 + np.arange(n) % 7
    scores["laplacian"] = np.random.default_rng(1).normal(100, 5, n)
    if images:
        images.mkdir(parents=True, exist_ok=True)
        for i, name in enumerate(names):
            grain = np.random.default_rng(i).integers(0, 9, (32, 48, 3))
            pixels = grain + np.array([i * 37 % 240, i * 91 % 240, int(45 * mos[i])])
            Image.fromarray(pixels.astype(np.uint8)).save(images / name)
        scores["laplacian"] = [laplacian_variance(Image.open(images / name)) for name in names]
        scores["bytes"] = [(images / name).stat().st_size for name in names]
    notes = ("<script>alert(1)</script>",)
    labels = Labels("agiqa3k", scores.assign(path=""), higher_is_better=True, notes=notes, annotated=n)
    shas = [hashlib.sha256(f"{k} {name}".encode()).hexdigest() for k, name in enumerate(names)]
    weights = Weights({}, "0123456789abcdef" * 4, {}, (0.5,) * 3, (0.2,) * 3, "made up")
    record = {
        "dataset": {
            **Images(labels.table, shas).record(labels, job.source.dataset),
            "root": str(images) if images else "",
        },
        "backbone": weights.record(job.method.backbone) | DEMO,
        "engine": {"engine": "torch", "precision": "fp32", "device": "cpu"},
    }
    features = Features(labels, labels.table, None, shas, record, None, None)
    source = mock.Mock(**{"labels.return_value": labels, "features.return_value": features})
    stages = {"open_source": lambda *_, **__: source, "scores_table": lambda *_: scores}
    with mock.patch.multiple(evaluate, score=mock.DEFAULT, **stages):
        evaluate.evaluate(job)
    return folder


def write_ablation(folder: Path, *, points: int = 101, backbone: dict[str, Any] = DEMO) -> Path:
    """Write a lambda grid's folder."""
    lam = np.round(np.linspace(-1, 1, points), 2)
    table = pd.DataFrame({"variant": [f"lam={x:.2f}" for x in lam], "lam": lam, "standardize": True})
    for statistic, top in (("srcc", 0.5), ("srcc_within", 0.3), ("plcc", 0.52)):
        table[statistic] = top - 0.1 * (lam - 0.36) ** 2
        table[f"{statistic}_low"], table[f"{statistic}_high"] = (
            table[statistic] - 0.03,
            table[statistic] + 0.03,
        )
    table["diff"] = table["srcc"] - float(table.loc[table["lam"] == 0.5, "srcc"].iloc[0])
    table["diff_low"], table["diff_high"], table["p"] = table["diff"] - 0.01, table["diff"] + 0.01, 0.5
    record = {
        "magiqa": "0.1.0",
        "command": "ablate",
        "name": folder.name,
        "ablation": {
            "name": "lambda",
            "reference": "lam=0.50",
            "parameter": "lam",
            "best": "lam=0.36",
            "best_gain": 0.0019,
        },
        "dataset": {"name": "agiqa3k", "variant": "", "n": 60, "label": "mos", "every": 1},
        "backbone": backbone,
    }
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "ablation.csv", index=False, lineterminator="\n")
    (folder / "record.json").write_text(json.dumps(record))
    return list_files(folder)
