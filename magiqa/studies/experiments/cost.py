"""Cost: parameters, arithmetic and time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.weights import load_weights
from magiqa.checked import Checked, Least
from magiqa.engines.build import machine, resolve
from magiqa.images.views import geometry, size_cut
from magiqa.runs.config import RunConfig
from magiqa.scorer.scorer import Scorer
from magiqa.studies.experiments.study import Findings, Study


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
            "parameters (millions) and GMACs are those of the image tower; the prompts are encoded once",
            f"ms: time of an image from pixels in memory to its score, median of {self.repeats} repeats with "
            f"{self.images} images each, after one call to warm up",
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
