"""Exhibits beside agreement: the cost of each method, and images with their scores."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.weights import load_weights
from magiqa.checked import Checked, Least
from magiqa.engines.build import machine, resolve
from magiqa.errors import UserError
from magiqa.images.views import geometry, size_cut
from magiqa.report.image_rows import Tile
from magiqa.report.words import AXES
from magiqa.runs.config import RunConfig
from magiqa.scorer.scorer import Scorer
from magiqa.studies.experiments.study import CUES, Figure, Findings, Study


@dataclass(frozen=True)
class Cost(Checked, key="experiment"):
    """Parameters, GMACs and ms per image of each method and backbone, measured in one run with random weights.

    Args:
        methods: the overrides of each method, by its name. backbones: options; () takes the backbone of the run.
        sizes: width and height of the images. images: of a size, timed together, from pixels in memory.
        repeats: the time is their median.
    """

    name: str = "cost"
    methods: Mapping[str, Sequence[str]] = field(default_factory=dict)
    backbones: tuple[str, ...] = ()
    sizes: tuple[tuple[Annotated[int, Least(1)], Annotated[int, Least(1)]], ...] = ((512, 384), (1024, 768))
    images: Annotated[int, Least(1)] = 4
    repeats: Annotated[int, Least(1)] = 5

    def tables(self, study: Study) -> Findings:
        """``cost``: a row a method and backbone, with views, GMACs and ms of each size."""
        assert study.compose is not None
        rows = []
        for bone in [[f"backbone={name}"] for name in self.backbones] or [[]]:
            for method, overrides in self.methods.items():
                job = study.compose([*overrides, *bone])
                own = job.method.backbone
                untrained = replace(own, pretrained=None, checkpoint=None, label=None, untrained=0)
                row = {"backbone": own.name, "method": method}
                rows.append(row | self._measure(job.having(backbone=untrained)))
        engine = resolve(study.job.machine.engine, study.job.machine.precision, study.job.machine.device)
        study.facts = {
            "dataset": None,
            "backbone": None,
            "engine": asdict(engine) | {"machine": machine(engine.device)},
        }
        notes = [
            "parameters and GMACs: of the image tower",
            f"ms: from pixels in memory to the score, median of {self.repeats} repeats of {self.images} images",
        ]
        return {"cost": pd.DataFrame(rows)}, notes, {}

    def _measure(self, job: RunConfig) -> dict[str, Any]:
        spec, views = job.method.backbone, job.method.views
        model: Any = build_model(spec, load_weights(spec))
        fit_positional_embedding(model, spec, (views.window, views.window))
        tower = model.visual.to("meta")
        row: dict[str, Any] = {"parameters": sum(p.numel() for p in tower.parameters()) / 1e6}
        scorer, resize = Scorer.of(job), getattr(job.source.dataset, "resize", None)
        for width, height in self.sizes:
            kinds = [kind for kind, *_ in geometry(width, height, views, resize)]
            whole = size_cut(width, height, views, resize)
            sides = [whole if kind == "whole" else (views.window, views.window) for kind in kinds]
            macs = {side: multiply_adds(tower, side) for side in set(sides)}
            size = f"{width}x{height}"
            row |= {f"views_{size}": len(sides), f"gmacs_{size}": sum(macs[side] for side in sides) / 1e9}
            row[f"ms_{size}"] = 1000 * self._seconds(scorer, (height, width, 3))
        return row

    def _seconds(self, scorer: Scorer, shape: tuple[int, ...]) -> float:
        """Return the seconds an image of a shape takes; the first call, which builds the engine, does not count."""
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, shape, np.uint8) for _ in range(self.images)]
        seconds = []
        for _ in range(1 + self.repeats):
            start = time.perf_counter()
            scorer(images)
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds[1:])) / self.images


def multiply_adds(tower: Any, size: tuple[int, int]) -> float:
    """Return the multiply-accumulates of an image tower on the meta device for one view of (width, height)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        tower(torch.zeros(1, 3, size[1], size[0], device="meta"))
    return counter.get_total_flops() / 2


TWO = 2  # images that a cue overrates, and as many that it underrates


@dataclass(frozen=True)
class Teaser(Checked, key="experiment"):
    """Images from the best score to the worst, the largest disagreements of each cue with MOS, and maps of the cues.

    Args:
        images: those of the row and the maps, by their names or base names; () takes even steps of the score.
        count: of images in the row, where none are named. stride: of the maps' windows, in pixels.
    """

    name: str = "teaser"
    images: tuple[str, ...] = ()
    count: Annotated[int, Least(2)] = 5
    stride: Annotated[int, Least(1)] = 32

    def tables(self, study: Study) -> Findings:
        """``teaser``: the images of each figure, with their scores and their ranks as percentiles."""
        study.from_images("image files")
        frame = pd.concat([study.features.table["image"], study.cues()[list(CUES)]], axis=1)
        label = study.features.labels.label
        frame[label] = study.y
        ranks = 100 * frame[[*CUES, label]].rank(pct=True)
        frame = frame.join(ranks.add_prefix("rank_"))
        parts = [frame.loc[self._row(frame)].assign(figure="teaser", cue="q")]
        clusters = study.sampling.clusters
        frame["content"] = frame["image"] if clusters is None else clusters
        for cue in CUES:
            order = (
                (frame[f"rank_{cue}"] - frame[f"rank_{label}"])
                .sort_values(ascending=False, kind="stable")
                .index
            )
            for some in (order, order[::-1]):
                rows = frame.loc[some].drop_duplicates("content").head(TWO)
                parts.append(rows.assign(figure="disagreements", cue=cue))
        table = pd.concat(parts, ignore_index=True).drop(columns="content", errors="ignore")
        note = "ranks are percentiles; disagreements: two images that a cue overrates, then two that it underrates"
        return {"teaser": table}, [note], self._figures(study, table)

    def _row(self, frame: pd.DataFrame) -> Sequence[int]:
        """Return the rows of the images from the highest score to the lowest."""
        order = frame["q"].sort_values(ascending=False, kind="stable").index
        if not self.images:
            return [order[i] for i in np.linspace(0, len(order) - 1, self.count).round().astype(int)]
        names = [{name, Path(name).name} for name in frame["image"]]
        for name in self.images:
            if not any(name in some for some in names):
                raise UserError(
                    f"experiment.images: {name} is no image of the data set; use names of its scores.csv"
                )
        return [i for i in order if names[i] & set(self.images)]

    def _figures(self, study: Study, table: pd.DataFrame) -> dict[str, Figure]:
        """Return the row with its maps, and the disagreements."""
        paths = dict(zip(study.features.table["image"], study.features.table["path"], strict=True))
        row, label = table[table["figure"] == "teaser"], study.features.labels.label
        if not study.job.output.figures:
            return {}
        rows: dict[str, list[Tile]] = {}
        for r in table[table["figure"] == "disagreements"].to_dict("records"):
            what = "Score" if r["cue"] == "q" else "Cue"
            words = f"{what} {r['rank_' + r['cue']]:.0f} %, {study.label} {r[f'rank_{label}']:.0f} %"
            rows.setdefault(AXES[r["cue"]], []).append(Tile(paths[r["image"]], words))
        caption = (
            f"Images on which a cue and {study.label} disagree most: two that the cue overrates and two that it "
            "underrates. Numbers: percentile ranks."
        )
        disagreements = Figure(caption, rows, {}, "image_rows")
        some = [paths[image] for image in row["image"]]
        maps = Scorer.of(study.job, cache_dir=study.job.machine.cache_dir).heatmap(some, stride=self.stride)
        below = [f"Score {r['q']:.2f}\n{study.label} {r[label]:.2f}" for r in row.to_dict("records")]
        rows = {"Image": [Tile(path, text) for path, text in zip(some, below, strict=True)]}
        for cue in ("q_sim", "q_mag"):
            rows[AXES[cue]] = [Tile(path, map=m[cue]) for path, m in zip(some, maps, strict=True)]
        which = "Images" if self.images else f"{len(some)} images at equally spaced ranks"
        caption = (
            f"{which} by Fused score, from the highest, and their cues by window (stride {self.stride})."
        )
        return {"teaser": Figure(caption, rows, {}, "image_rows"), "disagreements": disagreements}
