"""Small synthetic run and ablation folders in the format of `magiqa evaluate` and `magiqa ablate`."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from magiqa.stats.agreement import agreement, by_group

CONF = Path(__file__).resolve().parents[1] / "conf"
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


def write_run(
    folder: Path,
    *,
    n: int = 60,
    backbone: dict[str, Any] = DEMO,
    choices: dict[str, str] | None = None,
    dataset: dict[str, Any] | None = None,
    images: Path | None = None,
    groups: int = 3,
    noise: float = 0.5,
    seed: int = 0,
    resamples: int = 100,
) -> Path:
    """Write a run's folder; with `images`, its image files too. Labels depend on n only."""
    chosen = {
        "prompts": "maclip",
        "views": "maclip",
        "magnitude": "boxcox",
        "fusion": "adaptive",
        **(choices or {}),
    }
    config: dict[str, Any] = {
        g: yaml.safe_load((CONF / g / f"{o}.yaml").read_text()) for g, o in chosen.items()
    }
    config["pooling"] = "mean"
    config["dataset"] = {"root": str(images) if images else ""}
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
            Image.new("RGB", (48, 32), (i * 37 % 256, i * 91 % 256, int(50 * mos[i]))).save(images / name)
        scores["bytes"] = [(images / name).stat().st_size for name in names]
    rows, grouped, fits = [], [], {}
    by = scores["group"].to_numpy() if groups else None
    for score in ("q_sim", "q_mag", "q", "laplacian", "bytes"):
        x = scores[score].to_numpy(float)
        result = agreement(x, mos, groups=by, resamples=resamples)
        rows += [{"score": score, **row} for row in result.rows()]
        fits[score] = {"status": result.fit.status, "params": result.fit.params, "method": "monotone"}
        grouped += (
            [{"score": score, **row} for row in by_group(x, mos, by, resamples=resamples)] if groups else []
        )
    record = {
        "magiqa": "0.1.0",
        "command": "evaluate",
        "name": folder.name,
        "choices": {"dataset": "agiqa3k", **chosen},
        "changed": {},
        "config": config,
        "dataset": {
            "name": "agiqa3k",
            "variant": "",
            "root": str(images) if images else "",
            "n": n,
            "n_annotated": n,
            "label": "mos",
            "higher_is_better": True,
            "cluster": None,
            "every": 1,
            "notes": ["<script>alert(1)</script>"],
            "skipped": [],
            **(dataset or {}),
        },
        "backbone": {"positional_embedding": "drop", "weights_sha256": "0123456789abcdef", **backbone},
        "fits": fits,
        "warnings": [],
        "seconds": {"score": 1.0},
    }
    folder.mkdir(parents=True, exist_ok=True)
    scores.to_csv(folder / "scores.csv", index=False, lineterminator="\n")
    pd.DataFrame(rows).to_csv(folder / "agreement.csv", index=False, lineterminator="\n")
    if grouped:
        pd.DataFrame(grouped).to_csv(folder / "groups.csv", index=False, lineterminator="\n")
    (folder / "record.json").write_text(json.dumps(record))
    return list_files(folder)


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
            "split_half": {"optimism": 0.0004, "splits": 10},
        },
        "dataset": {"name": "agiqa3k", "variant": "", "n": 60, "label": "mos", "every": 1},
        "backbone": backbone,
    }
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "ablation.csv", index=False, lineterminator="\n")
    (folder / "record.json").write_text(json.dumps(record))
    return list_files(folder)
