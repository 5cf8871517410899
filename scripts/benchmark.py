"""Measure how fast magiqa encodes: contenders side by side in one run, in alternating order, as ratios.

    python scripts/benchmark.py --images DIR [--model RN50] [--count 24] [--rounds 3] [--json FILE]

The contenders are:

- a faithful one-image-at-a-time reference: stock open_clip in float32, the text encoded once or for every image, as
  MA-CLIP's official code does;
- each engine and precision on ready batches of several sizes ("raw");
- each engine and precision from image files to cached features, with the batch size that ``auto`` takes.

Weights are untrained, for timing only, except the demo's. Short jobs show their tail: compare ``--count 6``.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from magiqa.backbones.model import build_model
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_text
from magiqa.backbones.weights import load_weights
from magiqa.cores import decoders, threads
from magiqa.engines.build import build, machine, resolve
from magiqa.engines.engine import probe_views
from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache
from magiqa.features.images import content_sha256
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.views import Views
from magiqa.method.cues import BoxCox, similarity
from magiqa.runs.record import versions

PAIRS = [
    ("Good image", "bad image"),
    ("Sharp image", "blurry image"),
    ("sharp edges", "blurry edges"),
    ("High resolution image", "low resolution image"),
    ("Noise-free image", "noisy image"),
]
VIEWS = Views()
SIZE = (224, 224)


class Reference:
    """One image at a time: decode, normalize the whole image, cut, stock forward. Nothing of magiqa's pipeline."""

    def __init__(self, spec: Backbone, weights: Any, device: str = "cpu") -> None:
        self.model: Any = build_model(spec, weights)
        self.device, self.visual = device, self.model.visual
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (weights.mean, weights.std))
        self.text = encode_text(self.model, spec, [text for pair in PAIRS for text in pair])
        self.tokens = open_clip.get_tokenizer(spec.located)([text for pair in PAIRS for text in pair])

    def __call__(self, path: str, text_per_image: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the cues of one image's views."""
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
        pixels = (pixels - self.mean) / self.std
        windows = pixels.unfold(1, 224, 128).unfold(2, 224, 128).permute(1, 2, 0, 3, 4).reshape(-1, 3, *SIZE)
        whole = torch.nn.functional.interpolate(pixels[None], SIZE, mode="bilinear", align_corners=False)
        text, scale = self.text
        with torch.inference_mode():
            if text_per_image:  # tokenized once: MA-CLIP's Maclip/model.py does so when it is built
                text = self.model.encode_text(self.tokens).float()
                text = torch.nn.functional.normalize(text, dim=-1).reshape(len(PAIRS), 2, -1).numpy()
            features = self.visual.to(self.device)(torch.cat([windows, whole]).to(self.device)).cpu().numpy()
        return similarity(features, text, scale).mean(axis=1), BoxCox()(features)

    def all_cores(self, paths: list[str], text_per_image: bool) -> int:
        """Encode images one after the other with all cores; return the number of views."""
        before = torch.get_num_threads()  # an engine's threads have a core each
        torch.set_num_threads(threads())
        views = sum(len(self(path, text_per_image)[0]) for path in paths)
        torch.set_num_threads(before)
        return views


def encode(
    engine: Any, paths: Sequence[str | Path], weights: Any, device: str = "cpu"
) -> tuple[int, list[np.ndarray]]:
    """Encode image files into a fresh cache; return the number of views and the features of each image."""
    images = [content_sha256(Path(p).read_bytes()) for p in paths]
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder, {"benchmark": True})
        recipe = Recipe(VIEWS, None, weights.mean, weights.std)
        missing = list(zip(map(str, paths), images, strict=True))
        views, _ = fill_cache(
            cache, missing, lambda: engine, recipe, workers=decoders(device), progress=False
        )
        return views, [cache.rows(image).copy() for image in images]


def cue_error(engine: Any, reference: Reference, paths: list[str], weights: Any) -> float:
    """Return the largest difference of a view's cues from the reference's."""
    worst = 0.0
    for path, features in zip(paths, encode(engine, paths, weights)[1], strict=True):
        cues = similarity(features, *reference.text).mean(axis=1), BoxCox()(features)
        differences = zip(cues, reference(path), strict=True)
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in differences))
    return worst


def alternate(contenders: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Return each contender's views a second, one measurement a round, in an order that turns round every round."""
    rates: dict[str, list[float]] = defaultdict(list)
    names = list(contenders)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else names[::-1]:
            start = time.perf_counter()
            views = contenders[name]()
            rates[name].append(views / (time.perf_counter() - start))
    return rates


def ratio(rates: dict[str, list[float]], name: str, base: str) -> float:
    """Return the median over rounds of a contender's rate over another's in the same round."""
    return statistics.median(a / b for a, b in zip(rates[name], rates[base], strict=True))


def raw_run(engine: Any) -> Callable[[], int]:
    """Return a run of the engine alone, on views that are there."""
    views = probe_views(engine.batch_size, SIZE)
    repeats = max(2, 40 // engine.batch_size) * engine.streams
    pool = ThreadPoolExecutor(engine.streams)
    return lambda: sum(map(len, pool.map(engine, [views] * repeats)))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--images", type=Path, required=True, help="a folder of images; COUNT of them are used, evenly spread"
    )
    add("--model", default="RN50", help="an open_clip name, or demo")
    add("--count", type=int, default=24)
    add("--rounds", type=int, default=3)
    add("--engines", default="torch,openvino", help="of torch, compile, openvino")
    add("--precisions", default="fp32")
    add("--batch", default="4,8,16,32", help="further batch sizes of the raw engine")
    add("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = parse()
    images = sorted(p for p in options.images.iterdir() if p.suffix.lower() in (".jpg", ".png", ".bmp"))
    paths = [str(p) for p in images[:: max(1, len(images) // options.count)][: options.count]]
    spec = Backbone("demo") if options.model == "demo" else Backbone(options.model, untrained=0)
    weights = load_weights(spec)
    reference = Reference(spec, weights)
    contenders: dict[str, Callable[[], int]] = {
        "reference, text per image": lambda: reference.all_cores(paths, True),
        "reference, text once": lambda: reference.all_cores(paths, False),
    }
    facts: dict[str, dict[str, Any]] = {}
    for kind, precision in itertools.product(options.engines.split(","), options.precisions.split(",")):
        name = f"{kind} {precision}"
        try:
            resolved = resolve(kind, precision, "cpu")
            engine = build(reference.model.visual, resolved, view_size=SIZE)
        except UserError as error:
            print(f"{name}: left out: {error}")
            continue
        contenders[f"{name}, files"] = lambda e=engine: encode(e, paths, weights)[0]  # type: ignore[misc]
        error = cue_error(engine, reference, paths[:3], weights)
        facts[f"{name}, files"] = {"batch_size": engine.batch_size, "cue_error": error}
        for size in sorted({engine.batch_size, *map(int, options.batch.split(","))}):
            raw = build(reference.model.visual, resolved, batch_size=size, view_size=SIZE)
            contenders[f"{name}, raw, batches of {size}"] = raw_run(raw)
    for run in contenders.values():  # the first forward is slower
        run()
    rates = alternate(contenders, options.rounds)
    rows = [
        {
            "contender": name,
            "views_per_second": statistics.median(values),
            "x_text_once": ratio(rates, name, "reference, text once"),
            "x_text_per_image": ratio(rates, name, "reference, text per image"),
            **facts.get(name, {}),
        }
        for name, values in rates.items()
    ]
    print(f"{options.model} ({spec.shown_label}), {len(paths)} images, {threads()} threads, {machine('cpu')}")
    for row in rows:
        cells = [f"{k} {v:.3g}" for k, v in row.items() if k != "contender"]
        print(f"{row['contender']:<34}", "  ".join(cells))
    if options.json:
        facts_of_run = {
            "model": options.model,
            "images": len(paths),
            "threads": threads(),
            "machine": machine("cpu"),
        }
        report = facts_of_run | {"versions": versions(), "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
