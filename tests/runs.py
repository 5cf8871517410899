"""Small synthetic run and ablation folders in the format of `magiqa evaluate` and `magiqa ablate`."""

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
from magiqa.stats.agreement import STATISTICS
from magiqa.studies import evaluate

DEMO = {
    "name": "demo",
    "kind": "demo",
    "label": "demo, trained on synthetic degradations",
    "pretrained": None,
}
RN50 = {"name": "RN50", "kind": "published", "label": None, "pretrained": "openai"}
TEMPLATES = tempfile.TemporaryDirectory()  # runs of this process, which are copied
# as a decorator or a context: figures stay empty, since to draw them takes most of the time of a report
undrawn = mock.patch("matplotlib.figure.Figure.savefig", lambda figure, file, **options: Path(file).touch())
NASTY = "a <b>\"&' | $x_1$ `*`.png"


def list_files(folder: Path) -> Path:
    """Have a folder's record list what lies there now, as if the command had written it so."""
    written = [p for p in folder.rglob("*") if p.is_file() and p.name != "record.json"]
    hashes = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in written}
    record = json.loads((folder / "record.json").read_text())
    record["files"] = {name: {"sha256": sha256} for name, sha256 in hashes.items()}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def edit_record(folder: Path, **changes: Any) -> None:
    """Change keys of a folder's record, key by key inside mappings, as if the command had written it so."""
    record = json.loads((folder / "record.json").read_text())
    _merge(record, changes)
    (folder / "record.json").write_text(json.dumps(record))


def _merge(part: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(part.get(key), dict):
            _merge(part[key], value)
        else:
            part[key] = value


def put(table: pd.DataFrame, file: Path) -> None:
    """Write a table into a run's folder, as if the command had."""
    table.to_csv(file, index=False)
    list_files(file.parent)


@cache
def _job(overrides: tuple[str, ...]):
    return configs().job(list(overrides))


def write_run(
    folder: Path, *, backbone: dict[str, Any] = DEMO, dataset: dict[str, Any] | None = None, **options: Any
) -> Path:
    """Write a run's folder whose record names this backbone and data set; `make_run` says the other options.

    Runs with the same other options are made once and copied.
    """
    key = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
    template = Path(TEMPLATES.name) / key
    if not template.exists() or options.get("images"):
        make_run(template, **options)
    shutil.copytree(template, folder, dirs_exist_ok=True)
    edit_record(folder, name=folder.name, backbone=backbone, dataset=dataset or {})
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
    typed = (*(f"{g}={o}" for g, o in chosen.items()), f"dataset.root={images or 'nowhere'}", "figures=false")
    job = _job(typed).having(out=str(folder))
    names = [NASTY, *(f"image-{i:04d}.png" for i in range(1, n))]
    mos = np.round(np.random.default_rng(n).uniform(1, 5, n), 3)
    mos[0] = 4.9
    rng = np.random.default_rng(seed)
    scores = pd.DataFrame({"image": names, "mos": mos})
    scores["q_sim"] = 0.4 + 0.1 * mos + noise * rng.normal(0, 0.1, n)
    scores["q_mag"] = 1.0 + 0.05 * mos + noise * rng.normal(0, 0.2, n)
    scores.loc[0, "q_sim"] = 0.4  # the image of the nasty name is in every gallery
    scores = scores.assign(q=0.6 * scores["q_sim"] + 0.4 * scores["q_mag"], w_sim=0.6, width=48, height=48)
    scores = scores.assign(
        bytes=1000 + np.arange(n) % 7, laplacian=np.random.default_rng(1).normal(100, 5, n)
    )
    if groups:
        scores["group"] = [f"gen_{i % groups} <&$>" for i in range(n)]
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
    features = Features(
        table=labels.table,
        images=shas,
        cache=None,
        kinds=(),
        text=None,
        reference=None,
        labels=labels,
        record=record,
    )
    source = mock.Mock(**{"labels.return_value": labels, "features.return_value": features})
    stages = {"open_source": lambda *_, **__: source, "scores_table": lambda *_: scores}
    with mock.patch.multiple(evaluate, score=mock.DEFAULT, **stages), mock.patch.dict(STATISTICS):
        del STATISTICS["plcc_logistic_cv"]  # five fits for each score
        evaluate.evaluate(job)
    return folder


def write_ablation(folder: Path, *, points: int = 101, backbone: dict[str, Any] = DEMO) -> Path:
    """Write a lambda grid's folder."""
    lam = np.round(np.linspace(-1, 1, points), 2)
    table = pd.DataFrame({"variant": [f"lam={x:.2f}" for x in lam], "lam": lam, "standardize": True})
    for statistic, top in (("srcc", 0.5), ("srcc_within", 0.3), ("plcc", 0.52)):
        table[statistic] = value = top - 0.1 * (lam - 0.36) ** 2
        table[[f"{statistic}_low", f"{statistic}_high"]] = np.column_stack([value - 0.03, value + 0.03])
    gain = table["srcc"] - float(table.loc[table["lam"] == 0.5, "srcc"].iloc[0])
    table = table.assign(diff=gain, diff_low=gain - 0.01, diff_high=gain + 0.01, p=0.5)
    record = {
        "magiqa": "0.1.0",
        "command": "ablate",
        "name": folder.name,
        "ablation": {"name": "lambda", "reference": "lam=0.50", "parameter": "lam", "best": "lam=0.36",
                     "best_gain": 0.0019},
        "dataset": {"name": "agiqa3k", "variant": "", "n": 60, "label": "mos", "every": 1},
        "backbone": backbone,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "ablation.csv", index=False, lineterminator="\n")
    (folder / "record.json").write_text(json.dumps(record))
    return list_files(folder)
