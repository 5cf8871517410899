"""How fast is magiqa? Contenders side by side in one run, in alternating order, as ratios. Weights are for timing only.

    python scripts/benchmark.py --images DIR [--model RN50] [--count 24] [--rounds 3] [--json FILE]

(a) magiqa's encode, from image files to cached features, each engine and precision; (b) the raw engine on ready
batches, each batch size; (c) a faithful one-image-at-a-time reference: stock open_clip, float32, the text encoded for
every image (as MA-CLIP's official code does) or once; (d) decoding and cutting views alone; (e) a sweep of lambda, base
difference and alpha over cached features, with peak memory.
"""

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from magiqa.backbone import Backbone, build_model, encode_text, load_weights
from magiqa.cache import FeatureCache, content_sha256
from magiqa.cues import BoxCox, similarity
from magiqa.encode import fill_cache
from magiqa.engine import Resolved, build, probe_views, resolve, threads
from magiqa.errors import UserError
from magiqa.runner import versions
from magiqa.views import Views, cut, open_image

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
    """One image at a time: decode, normalise the whole image, cut, stock forward. Nothing of magiqa's pipeline."""

    def __init__(self, model: Any, spec: Backbone, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.model, self.spec = model, spec
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
        self.text = encode_text(model, spec, PAIRS)

    def __call__(self, path: str, text_per_image: bool) -> tuple[np.ndarray, np.ndarray]:
        """Cues of one image's views."""
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
        pixels = (pixels - self.mean) / self.std
        windows = (
            pixels.unfold(1, 224, 128).unfold(2, 224, 128).permute(1, 2, 0, 3, 4).reshape(-1, 3, 224, 224)
        )
        whole = torch.nn.functional.interpolate(pixels[None], SIZE, mode="bilinear", align_corners=False)
        text, scale = encode_text(self.model, self.spec, PAIRS) if text_per_image else self.text
        with torch.inference_mode():
            features = self.model.visual(torch.cat([windows, whole])).numpy()
        return similarity(features, text, scale).mean(axis=1), BoxCox()(features)


def end_to_end(
    engine: Any, paths: list[str], weights: Any, workers: int
) -> tuple[int, dict[int, np.ndarray]]:
    """Encode image files into a fresh cache."""
    images = [content_sha256(Path(p).read_bytes()) for p in paths]
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder, {"benchmark": True})
        wanted = list(zip(paths, images, strict=True))
        options = {
            "views": VIEWS,
            "mean": weights.mean,
            "std": weights.std,
            "workers": workers,
            "progress": False,
        }
        views, _ = fill_cache(cache, wanted, lambda: engine, **options)
        features = {owner[0]: rows.copy() for owner, rows in cache.blocks(images, views=1)}
    return views, features


def alternate(contenders: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Views a second of each contender, one measurement a round, in an order that turns round every round."""
    rates: dict[str, list[float]] = defaultdict(list)
    names = list(contenders)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else names[::-1]:
            start = time.perf_counter()
            views = contenders[name]()
            rates[name].append(views / (time.perf_counter() - start))
    return rates


def ratio(rates: dict[str, list[float]], name: str, base: str) -> float:
    """The median over rounds of a contender's rate over another's in the same round."""
    return statistics.median(a / b for a, b in zip(rates[name], rates[base], strict=True))


def sweep(count: int, dim: int) -> dict[str, Any]:
    """101 lambdas x 21 base differences x 21 alphas with their SRCC, over 10 views an image of cached features."""
    from magiqa.ablation import box_cox_means
    from magiqa.agreement import srcc_many
    from magiqa.cues import standardise

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder, {"benchmark": "sweep"})
        images = [f"{i:064d}" for i in range(count)]
        for start in range(0, count, 256):
            part = images[start : start + 256]
            rows = [
                rng.standard_normal((10, dim)).astype(np.float32) * (1 + i / count) for i in range(len(part))
            ]
            cache.write(part, rows, np.ones((len(part), 4)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        lams = np.round(np.linspace(-1, 1, 101), 2)
        mags = np.empty((len(lams), count, 10))
        sims = np.empty((count, 10))
        for owner, rows in cache.blocks(images):
            at = np.unique(owner)
            mags[:, at] = box_cox_means(np.log1p(standardise(rows)), list(lams)).reshape(len(lams), -1, 10)
            sims[at] = np.abs(rows).mean(axis=1).reshape(-1, 10) % 1
        cues = time.perf_counter() - begin
        labels = rng.standard_normal(count)
        done = 0
        for mag in mags:
            gap = sims - mag
            for alpha in np.linspace(0, 4, 21):
                base = np.linspace(-2, 2, 21)[:, None, None]
                weight = 0.5 * (1 + np.tanh(0.5 * (base + 2 * alpha * gap)))
                done += len(srcc_many((mag + weight * gap).mean(axis=2), labels))
        total = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "variants": done,
        "cues_seconds": cues,
        "seconds": total,
        "peak_growth_mb": (after - before) / 1024,
    }


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", required=True, help="a folder of images, the first COUNT by name are used"
    )
    parser.add_argument("--model", default="RN50", help="an open_clip name, or demo")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default="torch,openvino", help="of torch, compile, openvino")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument(
        "--batch", default="5,10,20", help="batch sizes of the raw engine; the best one is used"
    )
    parser.add_argument("--sweep", action="store_true", help="also (e)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = sorted(p for p in Path(options.images).iterdir() if p.suffix.lower() in (".jpg", ".png", ".bmp"))
    step = max(1, len(found) // options.count)
    paths = [str(p) for p in found[::step][: options.count]]

    spec = Backbone(options.model, untrained=0) if options.model != "demo" else Backbone("demo")
    weights = load_weights(spec)
    model = build_model(spec, weights)
    torch.set_num_threads(threads())
    reference = Reference(model, spec, weights.mean, weights.std)
    report: dict[str, Any] = {
        "model": options.model,
        "weights": spec.shown_label,
        "images": len(paths),
        "threads": threads(),
        "machine": platform.processor() or platform.machine(),
        "versions": versions(),
    }

    def loop(text_per_image: bool) -> Callable[[], int]:
        def run() -> int:
            before = torch.get_num_threads()  # an engine's threads have a core each, the reference has all
            torch.set_num_threads(threads())
            views = sum(len(reference(p, text_per_image)[0]) for p in paths)
            torch.set_num_threads(before)
            return views

        return run

    contenders: dict[str, Callable[[], int]] = {
        "reference, text per image": loop(True),
        "reference, text once": loop(False),
    }
    best: dict[str, int] = {}
    errors: dict[str, float] = {}
    for engine_name in options.engines.split(","):
        for precision in options.precisions.split(","):
            name = f"{engine_name} {precision}"
            try:
                resolved: Resolved = resolve(engine_name, precision, "cpu")
                engines = {
                    int(b): build(model.visual, resolved, batch_size=int(b), view_size=SIZE)
                    for b in options.batch.split(",")
                }
            except UserError as error:
                print(f"{name}: left out: {error}")
                continue

            def raw(engine: Any) -> Callable[[], int]:
                views = probe_views(engine.batch_size, SIZE)
                repeats = max(2, 40 // engine.batch_size) * engine.streams
                pool = ThreadPoolExecutor(engine.streams)
                return lambda: sum(map(len, pool.map(engine, [views] * repeats)))

            rates = alternate({str(b): raw(e) for b, e in engines.items()}, 2)
            best[name] = int(max(rates, key=lambda b: max(rates[b])))
            engine = engines[best[name]]
            contenders[f"{name} raw"] = raw(engine)
            contenders[f"{name} end to end"] = lambda engine=engine: end_to_end(engine, paths, weights, 2)[0]
            _, features = end_to_end(engine, paths[:3], weights, 2)
            sims = [similarity(features[i], *reference.text).mean(axis=1) for i in range(3)]
            against = [reference(p, False) for p in paths[:3]]
            errors[name] = max(
                max(float(np.abs(sims[i] - against[i][0]).max()) for i in range(3)),
                max(float(np.abs(BoxCox()(features[i]) - against[i][1]).max()) for i in range(3)),
            )
            print(f"built {name}: batch {best[name]}, cues differ by {errors[name]:.1e}", flush=True)

    def decode() -> int:
        count = 0
        for path in paths:
            data = Path(path).read_bytes()
            count += sum(
                len(block) for block in cut(open_image(data, path), VIEWS, mean=weights.mean, std=weights.std)
            )
        return count

    contenders["decode and cut, one core"] = decode
    rates = alternate(contenders, options.rounds)
    rows = []
    for name, values in rates.items():
        row = {
            "contender": name,
            "views_per_second": statistics.median(values),
            "x_text_once": ratio(rates, name, "reference, text once"),
            "x_text_per_image": ratio(rates, name, "reference, text per image"),
        }
        if name.endswith("end to end"):
            key = name.removesuffix(" end to end")
            raw_name = f"{key} raw"
            row["x_raw"] = ratio(rates, name, raw_name)
            # what core-seconds imply: the forward takes all cores, decoding one of them
            forward = 1 / statistics.median(rates[raw_name])
            cutting = 1 / statistics.median(rates["decode and cut, one core"]) / threads()
            row["x_implied"] = row["views_per_second"] * (forward + cutting)
            row["batch_size"], row["cue_error"] = best[key], errors[key]
        rows.append(row)
    report["rows"] = rows
    head = [
        "contender",
        "views_per_second",
        "x_text_once",
        "x_text_per_image",
        "x_raw",
        "x_implied",
        "cue_error",
    ]
    print(
        f"\n{options.model} ({spec.shown_label}), {len(paths)} images, {threads()} threads, {options.rounds} rounds"
    )
    print("  ".join(h.ljust(28 if h == "contender" else 16) for h in head))
    for row in rows:
        cells = [row.get(h, "") for h in head]
        text = [
            c if isinstance(c, str) else f"{c:.1e}" if h == "cue_error" else f"{c:.2f}"
            for h, c in zip(head, cells, strict=True)
        ]
        print("  ".join(t.ljust(28 if i == 0 else 16) for i, t in enumerate(text)).rstrip())
    if options.sweep:
        report["sweep"] = sweep(2982, 1024)
        print("sweep:", report["sweep"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
