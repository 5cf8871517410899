"""How fast is magiqa? Contenders side by side in one run, in alternating order, as ratios. Weights are for timing only.

    python scripts/benchmark.py --images DIR [--model RN50] [--count 24] [--rounds 3] [--json FILE]
    python scripts/benchmark.py --images DIR --model demo --sweep --memory 362628

(a) magiqa's encode, from image files to cached features, each engine and precision; (b) the raw engine on ready
batches, each batch size; (c) a faithful one-image-at-a-time reference: stock open_clip, float32, the text encoded for
every image (as MA-CLIP's official code does) or once; (d) decoding and cutting views alone; (e) a sweep of lambda, base
difference and alpha over cached features, and with ``--memory`` encoding and sweeping a set of that many views with a
stub backbone, each with its peak memory: what the process allocates on top of what it held before, mapped file pages
not counted; (f) with ``--score``, that many files through `Scorer` in one call, beside stock open_clip and
torchmetrics' ``clip_image_quality_assessment`` one image at a time, with the same weights and prompts.
"""

import argparse
import io
import itertools
import json
import platform
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from magiqa.backbones.model import build_model
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_text
from magiqa.backbones.weights import load_weights
from magiqa.cores import threads
from magiqa.engines.build import build
from magiqa.engines.engine import Resolved, probe_views
from magiqa.engines.resolve import resolve
from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache
from magiqa.features.hashing import content_sha256
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.decode import open_image
from magiqa.images.views import Views, cut
from magiqa.method.cues import BoxCox, similarity
from magiqa.method.fusion import Adaptive
from magiqa.runs.provenance import versions
from magiqa.scoring.score import score_many

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

    def __init__(self, model: Any, spec: Backbone, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.model, self.spec = model, spec
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
        self.text = encode_text(model, spec, PAIRS)
        self.tokens = open_clip.get_tokenizer(spec.located)([text for pair in PAIRS for text in pair])

    def __call__(self, path: str, text_per_image: bool) -> tuple[np.ndarray, np.ndarray]:
        """Cues of one image's views."""
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
        pixels = (pixels - self.mean) / self.std
        windows = (
            pixels.unfold(1, 224, 128).unfold(2, 224, 128).permute(1, 2, 0, 3, 4).reshape(-1, 3, 224, 224)
        )
        whole = torch.nn.functional.interpolate(pixels[None], SIZE, mode="bilinear", align_corners=False)
        text, scale = self.text
        with torch.inference_mode():
            if text_per_image:  # tokenized once: MA-CLIP's Maclip/model.py does so when it is built
                text = self.model.encode_text(self.tokens).float()
                text = torch.nn.functional.normalize(text, dim=-1).reshape(len(PAIRS), 2, -1).numpy()
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
        recipe = Recipe(VIEWS, None, weights.mean, weights.std)
        views, _ = fill_cache(cache, wanted, lambda: engine, recipe, workers=workers, progress=False)
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


class Peak:
    """Peak of the process's own memory (mapped files not counted) over a ``with`` block, in MB above ``start``."""

    def __init__(self, start: int | None = None) -> None:
        self.start = self.now() if start is None else start

    def __enter__(self) -> "Peak":
        self.highest = self.now()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.mb = (self.highest - self.start) / 1024

    def _watch(self) -> None:
        while not self.over.wait(0.02):
            self.highest = max(self.highest, self.now())

    @staticmethod
    def now() -> int:
        """In kB; 0 where the system does not tell."""
        status = Path("/proc/self/status")  # Linux only
        if not status.exists():
            return 0
        return int(next(x for x in status.read_text().splitlines() if x.startswith("RssAnon")).split()[1])


def lambdas(cache: FeatureCache, images: list[str], dim: int, start: int | None = None) -> dict[str, Any]:
    """Scores of 101 lambdas by the package's own path of `ablate`."""
    rng = np.random.default_rng(0)
    text = rng.standard_normal((len(PAIRS), 2, dim))
    text /= np.linalg.norm(text, axis=-1, keepdims=True)
    views = Views()
    features = SimpleNamespace(
        cache=cache, images=images, kinds=views.kinds, text=lambda prompts: (text, 100.0)
    )
    methods: list[Any] = [
        SimpleNamespace(
            prompts=None, views=views, magnitude=BoxCox(lam=float(lam)), fusion=Adaptive(), pooling="mean"
        )
        for lam in np.round(np.linspace(-1, 1, 101), 2)
    ]
    with Peak(start) as peak:
        begin = time.perf_counter()
        scores = score_many(features, methods)["q"]  # type: ignore[arg-type]
        seconds = time.perf_counter() - begin
    return {
        "images": len(images),
        "views": sum(cache.entries[i].count for i in images),
        "variants": len(scores),
        "seconds": seconds,
        "peak_mb": peak.mb,
    }


def sweep(count: int, dim: int) -> dict[str, Any]:
    """The lambdas over random features of ``count`` images with 10 views each."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder, {"benchmark": "sweep"})
        images = [f"{i:064d}" for i in range(count)]
        for start in range(0, count, 256):
            part = images[start : start + 256]
            rows = [rng.standard_normal((10, dim)).astype(np.float32) for _ in part]
            cache.write(part, rows, np.ones((len(part), 4)))
        return lambdas(cache, images, dim)


class Stub:
    """In place of a network: features from a drawer, no two the same, which cost nothing."""

    batch_size, streams = 10, threads()

    def __init__(self) -> None:
        self.drawer = np.random.default_rng(0).standard_normal((1000, 1024)).astype(np.float32)
        self.calls = itertools.count()

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) -> (B, 1024)."""
        call = next(self.calls)
        start = call % 99 * 10
        out: np.ndarray = self.drawer[start : start + len(views)] + np.float32(call * 1e-5)
        return out


def large(views: int) -> list[dict[str, Any]]:
    """Encode and sweep a set of 1024x768 photos, 36 views each, made by repetition; and a quarter and a half of it.

    Files differ in bytes after the JPEG's end, which decoders ignore, so that each is an image of its own.
    """
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((1024, 768), Image.Resampling.BICUBIC).save(stream, "JPEG")
    out: list[dict[str, Any]] = []
    start = Peak.now()
    for part in (views // 4, views // 2, views):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{i}.jpg" for i in range(part // 36)]
            for i, path in enumerate(paths):
                path.write_bytes(stream.getvalue() + i.to_bytes(4, "big"))
            cache = FeatureCache(Path(folder) / "cache", {"benchmark": "large"})
            images = [content_sha256(p.read_bytes()) for p in paths]
            with Peak(start) as peak:
                begin = time.perf_counter()
                done, _ = fill_cache(
                    cache,
                    list(zip(map(str, paths), images, strict=True)),
                    Stub,
                    Recipe(VIEWS),
                    workers=threads(),
                    progress=False,
                )
                seconds = time.perf_counter() - begin
            row = {
                "views": done,
                "encode_seconds": seconds,
                "encode_peak_mb": peak.mb,
                "sweep": lambdas(cache, images, 1024, start),
            }
            print(row, flush=True)
            out.append(row)
    return out


class Judged:
    """open_clip's model as torchmetrics' CLIP-IQA wants one, and its processor: in place of a download by piq."""

    def __init__(self, model: Any, spec: Backbone) -> None:
        self.model = model
        self.tokens = open_clip.get_tokenizer(spec.located)
        self.tokenizer = SimpleNamespace(model_max_length=model.context_length)

    def to(self, device: Any) -> "Judged":
        """The CPU is where all of this runs."""
        return self

    def encode_image(self, images: torch.Tensor, pos_embedding: bool) -> torch.Tensor:
        """Without its positional embedding, as torchmetrics asks."""
        features: torch.Tensor = self.model.visual(images)
        return features

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Of all prompts."""
        features: torch.Tensor = self.model.encode_text(tokens)
        return features

    def __call__(self, text: list[str]) -> dict[str, list[list[int]]]:
        """Tokens of each text, without the padding."""
        return {"input_ids": [[t for t in row if t] for row in self.tokens(text).tolist()]}


def scoring(
    paths: list[str], count: int, reference: Reference, spec: Backbone, raw: Callable[[], int], rounds: int
) -> dict[str, Any]:
    """Images a second of `Scorer` on ``count`` files in one call, and of others one image at a time."""
    import torchmetrics.functional.multimodal.clip_iqa as theirs

    from magiqa import Scorer

    judged = Judged(reference.model, spec)
    theirs._get_clip_iqa_model_and_processor = lambda name: (judged, judged)  # no network
    scorer = Scorer(spec)
    many = [paths[i % len(paths)] for i in range(count)]
    views = {p: len(scorer.views(p)) for p in paths}  # the engine is built before the clock runs
    whole = Scorer(spec, views="whole", fusion="similarity")

    def torchmetrics_score(path: str) -> dict[str, torch.Tensor]:
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            found: dict[str, torch.Tensor] = theirs.clip_image_quality_assessment(
                pixels, data_range=255.0, prompts=tuple(PAIRS)
            )
            return found

    def each(score: Callable[[str], object]) -> Callable[[], int]:
        def run() -> int:
            before = torch.get_num_threads()
            torch.set_num_threads(threads())
            for path in paths:
                score(path)
            torch.set_num_threads(before)
            return len(paths)

        return run

    rates = alternate(
        {
            "Scorer": lambda: len(scorer(many)),
            "open_clip, one image at a time": each(lambda p: reference(p, False)),
            "torchmetrics CLIP-IQA, whole image, one at a time": each(torchmetrics_score),
            "Scorer, whole image": lambda: len(whole(paths)),
            "raw engine, views": raw,
        },
        rounds,
    )
    # torchmetrics has CLIP's trained logit scale, 100, in its code: an untrained network's own is another
    q_pairs = whole.cues(paths[:3])[[positive for positive, _ in PAIRS]].to_numpy()
    q_pairs = 1 / (1 + (1 / q_pairs - 1) ** (100 / reference.text[1]))
    theirs_q = [torch.stack(list(torchmetrics_score(p).values())).ravel().numpy() for p in paths[:3]]
    per_image = sum(views[p] for p in many) / count
    encoder = [s * per_image / r for s, r in zip(rates["Scorer"], rates["raw engine, views"], strict=True)]
    return {
        "files": count,
        "views_per_image": per_image,
        "images_per_second": {n: statistics.median(r) for n, r in rates.items() if n != "raw engine, views"},
        "x_open_clip": ratio(rates, "Scorer", "open_clip, one image at a time"),
        "x_torchmetrics_whole": ratio(
            rates, "Scorer, whole image", "torchmetrics CLIP-IQA, whole image, one at a time"
        ),
        "x_raw_engine": statistics.median(encoder),
        "whole_image_difference": float(np.abs(q_pairs - theirs_q).max()),
    }


def machine() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    names = [x for x in info.read_text().splitlines() if x.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", required=True, help="a folder of images, COUNT of them are used, evenly spread by name")
    add("--model", default="RN50", help="an open_clip name, or demo")
    add("--count", type=int, default=24)
    add("--rounds", type=int, default=3)
    add("--engines", default="torch,openvino", help="of torch, compile, openvino")
    add("--precisions", default="fp32,bf16")
    add("--batch", default="5,10,20", help="batch sizes of the raw engine; the best one is used")
    add("--sweep", action="store_true", help="also (e), over 2,982 images of 10 views")
    add("--memory", type=int, default=0, metavar="VIEWS", help="also a set of that many views")
    add("--score", type=int, default=0, metavar="FILES", help="also (f), so many files in one call")
    add("--json", type=Path)
    return parser.parse_args()


def cue_error(engine: Any, reference: Reference, paths: list[str], weights: Any) -> float:
    """The largest difference of a view's cues from the reference's, over three images."""
    _, features = end_to_end(engine, paths[:3], weights, threads())
    worst = 0.0
    for i, path in enumerate(paths[:3]):
        q_sim, q_mag = reference(path, False)
        own = similarity(features[i], *reference.text).mean(axis=1), BoxCox()(features[i])
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(own, (q_sim, q_mag), strict=True)))
    return worst


def raw_run(engine: Any) -> Callable[[], int]:
    """The engine alone, on views that are there."""
    views = probe_views(engine.batch_size, SIZE)
    repeats = max(2, 40 // engine.batch_size) * engine.streams
    pool = ThreadPoolExecutor(engine.streams)
    return lambda: sum(map(len, pool.map(engine, [views] * repeats)))


def end_to_end_run(engine: Any, paths: list[str], weights: Any) -> Callable[[], int]:
    """The engine fed from image files."""
    return lambda: end_to_end(engine, paths, weights, threads())[0]


def decode_run(paths: list[str], weights: Any) -> Callable[[], int]:
    """Decoding and cutting alone."""

    def run() -> int:
        images = ((Path(path).read_bytes(), path) for path in paths)
        return sum(
            len(block)
            for data, path in images
            for block in cut(open_image(data, path), VIEWS, mean=weights.mean, std=weights.std)
        )

    return run


def rows_of(
    rates: dict[str, list[float]], best: dict[str, int], errors: dict[str, float]
) -> list[dict[str, Any]]:
    """A row a contender: its rate, and its ratios to others in the same round."""
    rows = []
    for name, values in rates.items():
        row: dict[str, Any] = {
            "contender": name,
            "views_per_second": statistics.median(values),
            "x_text_once": ratio(rates, name, "reference, text once"),
            "x_text_per_image": ratio(rates, name, "reference, text per image"),
        }
        if name.endswith("end to end"):
            key = name.removesuffix(" end to end")
            row["x_raw"] = ratio(rates, name, f"{key} raw")
            # what core-seconds imply: the forward takes all cores, decoding one of them
            each = zip(values, rates[f"{key} raw"], rates["decode and cut, one core"], strict=True)
            row["x_implied"] = statistics.median(v * (1 / r + 1 / (d * threads())) for v, r, d in each)
            row["batch_size"], row["cue_error"] = best[key], errors[key]
        rows.append(row)
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    """As a table."""
    head = ("contender", "views_per_second", "x_text_once", "x_text_per_image", "x_raw")
    head = (*head, "x_implied", "cue_error")
    print("  ".join(h.ljust(28 if h == "contender" else 16) for h in head))
    for row in rows:
        cells = [(h, row.get(h, "")) for h in head]
        text = [c if isinstance(c, str) else f"{c:.1e}" if h == "cue_error" else f"{c:.2f}" for h, c in cells]
        print("  ".join(t.ljust(28 if i == 0 else 16) for i, t in enumerate(text)).rstrip())


def main() -> None:
    """Measure, print the tables, write the JSON."""
    options = parse()
    found = sorted(p for p in Path(options.images).iterdir() if p.suffix.lower() in (".jpg", ".png", ".bmp"))
    step = max(1, len(found) // options.count)
    paths = [str(p) for p in found[::step][: options.count]]

    spec = Backbone(options.model, untrained=0) if options.model != "demo" else Backbone("demo")
    weights = load_weights(spec)
    model: Any = build_model(spec, weights)
    torch.set_num_threads(threads())
    reference = Reference(model, spec, weights.mean, weights.std)
    report: dict[str, Any] = {
        "model": options.model,
        "weights": spec.shown_label,
        "images": len(paths),
        "threads": threads(),
        "machine": machine(),
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
    for kind, precision in itertools.product(options.engines.split(","), options.precisions.split(",")):
        name = f"{kind} {precision}"
        try:
            resolved: Resolved = resolve(kind, precision, "cpu")
            sizes = map(int, options.batch.split(","))
            engines = {b: build(model.visual, resolved, batch_size=b, view_size=SIZE) for b in sizes}
        except UserError as error:
            print(f"{name}: left out: {error}")
            continue
        rates = alternate({str(b): raw_run(e) for b, e in engines.items()}, 2)
        best[name] = int(max(rates, key=lambda b: max(rates[b])))
        report.setdefault("batches", {})[name] = {b: max(r) for b, r in rates.items()}
        engine = engines[best[name]]
        contenders[f"{name} raw"] = raw_run(engine)
        contenders[f"{name} end to end"] = end_to_end_run(engine, paths, weights)
        errors[name] = cue_error(engine, reference, paths, weights)
        by_size = ", ".join(f"{b}: {max(r):.1f}" for b, r in rates.items())
        print(f"built {name}: views/s by batch size {by_size}; cues differ by {errors[name]:.1e}", flush=True)
        for warning in engine.warnings:
            print(f"warning: {warning}", flush=True)

    contenders["decode and cut, one core"] = decode_run(paths, weights)
    rates = alternate(contenders, options.rounds)
    report["rows"] = rows_of(rates, best, errors)
    print(
        f"\n{options.model} ({spec.shown_label}), {len(paths)} images, {threads()} threads, {options.rounds} rounds"
    )
    print(f"{report['machine']}; {', '.join(f'{k} {v}' for k, v in report['versions'].items())}")
    print_rows(report["rows"])
    if options.score:
        fastest = max((n for n in contenders if n.endswith("fp32 raw")), key=lambda n: max(rates[n]))
        report["score"] = scoring(paths, options.score, reference, spec, contenders[fastest], options.rounds)
        print("score:", json.dumps(report["score"], indent=1))
    if options.sweep:
        report["sweep"] = sweep(2982, 1024)
        print("sweep:", report["sweep"])
    if options.memory:
        report["large"] = large(options.memory)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
