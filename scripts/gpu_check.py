"""Check on this machine what cannot be tested without its GPU; write a JSON file and a Markdown table.

    make gpu-check                                   on a machine with a GPU, under ten minutes, no network
    python scripts/gpu_check.py [--device cuda] [--out results/gpu] [--quick]

The parts are: the tests of views made on a device; the golden cases of the official implementation in each precision;
agreement of cues with plain float32 torch on the CPU; views a second from files, with views made on the device and on
the host, beside the raw engine at several batch sizes and one image at a time. Weights are synthetic except the demo's.

A part that fails is listed with its error, and the rest goes on; the exit code is 1 then. On a CPU
(``make gpu-check DEVICE=cpu``) the script uses fewer images.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
from benchmark import PAIRS, Reference, alternate, encode, ratio
from PIL import Image, ImageFilter
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from conftest import golden_fill

from magiqa.backbones.model import build_model
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_text
from magiqa.backbones.weights import load_weights
from magiqa.engines.build import ENGINES, build, hardware, machine, resolve
from magiqa.errors import UserError
from magiqa.features.pipeline import Batches
from magiqa.images.views import CLIP_MEAN, CLIP_STD, Views, cut
from magiqa.method.cues import BoxCox, similarity
from magiqa.method.fusion import Adaptive
from magiqa.runs.record import versions

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SIZE = (224, 224)
VIEWS = Views()
MODELS = ("demo", "RN50", "ViT-B-32")
# photos and their size, for agreement and for speed
SIZES = {
    "quick": (6, (256, 256), 3, (512, 384)),
    "cpu": (8, (352, 352), 4, (512, 512)),
    "gpu": (24, (512, 512), 128, (1024, 768)),
}
CLOSE = {"fp32": 5e-5, "bf16": 5e-2, "fp16": 1e-2}  # of cues, from the official implementation's in float32

Row = dict[str, Any]


class Model:
    """A backbone with its text, and an engine for each precision."""

    def __init__(self, spec: Backbone, device: str) -> None:
        self.spec, self.device = spec, device
        self.weights = load_weights(spec)
        self.clip: Any = build_model(spec, self.weights)
        self.text, self.scale = encode_text(self.clip, spec, [text for pair in PAIRS for text in pair])

    def engine(self, precision: str, *, on_device: bool = True, device: str = "", **options: Any) -> Any:
        """Build an engine on the device that is checked, or on another."""
        resolved = resolve("torch", precision, device or self.device)
        gc.collect()  # what an earlier engine held on the device
        return build(self.clip.visual, resolved, view_size=SIZE, on_device=on_device, **options)

    def cues(self, features: np.ndarray) -> dict[str, float]:
        """Return an image's cues from the features of its views."""
        by_view = similarity(features, self.text, self.scale).mean(axis=1), BoxCox()(features)
        names = ("q_sim", "q_mag", "q")
        return {n: float(v.mean()) for n, v in zip(names, (*by_view, Adaptive()(*by_view)[0]), strict=True)}


def photos(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Write synthetic photos, from sharp to blurred and from clean to noisy."""
    folder.mkdir()

    def write(i: int) -> Path:
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (size[1] // 32, size[0] // 32, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        detail = rng.normal(0, 4 + 40 * (i % 5) / 4, (size[1], size[0], 3))
        image = Image.fromarray((np.asarray(image) + detail).clip(0, 255).astype(np.uint8))
        path = folder / f"{i:03d}.jpg"
        image.filter(ImageFilter.GaussianBlur(i / count * 4)).save(path, quality=90)
        return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(write, range(count)))


def device_tests(device: str) -> list[Row]:
    """Run the tests of views made on a device, and of the pipeline around them, on this one."""
    names = ("engines/test_device.py", "scorer/test_scorer.py::test_scores_on_a_gpu_are_the_cpus")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{n}" for n in names)]
    environment = os.environ | {"MAGIQA_TEST_DEVICE": device}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150)
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        errors = [line for line in lines if line.startswith(("E  ", "FAILED", "ERROR"))]
        raise RuntimeError("\n".join([*errors[-20:], lines[-1]]))
    return [{"result": lines[-1]}]


def golden_model(backbone: str, device: str, seed: int, folder: Path) -> Model:
    """Return a model with the golden weights of an architecture."""
    from safetensors.torch import save_file

    untrained = open_clip.create_model(f"{backbone}-quickgelu", pretrained=None)
    state = golden_fill(untrained.state_dict(), seed)
    file = folder / f"{backbone}.safetensors"
    save_file({k: v.clone().contiguous() for k, v in state.items()}, file)
    return Model(Backbone(backbone, checkpoint=str(file), quickgelu=True), device)


def golden(device: str, precisions: list[str], folder: Path) -> list[Row]:
    """Compare with the official implementation's numbers on the photos that scikit-image ships."""
    import skimage

    cases = json.loads((GOLDEN / "golden_skimage.json").read_text())
    photos = Path(skimage.__file__).parent / "data"
    rows: list[Row] = []
    for backbone in ("RN50", "ViT-B-32"):
        wanted = (f"{backbone}-quickgelu", "AGIQA-3k")
        chosen = [c for c in cases["cases"] if (c["backbone"], c["preset"]) == wanted]
        model = golden_model(backbone, device, cases["seed"], folder)
        for precision in precisions:
            engine = model.engine(precision, batch_size=8)
            worst = {"norm": 0.0, "q_sim": 0.0, "q_mag": 0.0}
            _, features = encode(engine, [photos / c["image"] for c in chosen], model.weights, device)
            for views, case in zip(features, chosen, strict=True):
                norms = np.linalg.norm(views.astype(np.float64), axis=1)
                differences = {
                    "norm": norms / case["feature_norm"] - 1,
                    "q_sim": similarity(views, model.text, model.scale).mean(axis=1) - case["q_sim"],
                    "q_mag": BoxCox(0.5)(views) - case["q_mag"],
                }
                worst = {name: max(worst[name], float(np.abs(d).max())) for name, d in differences.items()}
            row = {"backbone": backbone, "precision": precision, "images": len(chosen), **worst}
            rows.append(row | {"max_error": engine.max_error})
            if max(worst.values()) > CLOSE[precision]:
                raise RuntimeError(f"cues differ by more than {CLOSE[precision]}: {row}")
    return rows


def agreement(models: list[Model], precisions: list[str], paths: list[Path]) -> list[Row]:
    """Compare cues with plain float32 torch on the CPU: SRCC over images, largest difference."""
    rows = []
    for model in models:
        engine = model.engine("fp32", batch_size=8, on_device=False, device="cpu")
        expected = [
            model.cues(features) for features in encode(engine, paths, model.weights, model.device)[1]
        ]
        for precision in precisions:
            engine = model.engine(precision, batch_size=8)
            cues = [
                model.cues(features) for features in encode(engine, paths, model.weights, model.device)[1]
            ]
            row: Row = {"backbone": model.spec.name, "precision": precision, "images": len(paths)}
            for cue in ("q_sim", "q_mag", "q"):
                a, b = ([values[cue] for values in side] for side in (cues, expected))
                row[f"{cue}_srcc"] = float(spearmanr(a, b).statistic)
                row[f"{cue}_largest"] = float(np.abs(np.subtract(a, b)).max())
            rows.append(row)
    return rows


def raw(engine: Any, paths: list[Path]) -> Callable[[], int]:
    """Return a run of the engine alone: one image's pixels lie on its device, and batches of its views are encoded."""
    batches = Batches(engine, VIEWS.window)
    make_views = engine.way.cut if engine.way else cut
    with Image.open(paths[0]) as image:
        blocks = list(make_views(image.convert("RGB"), VIEWS, name="raw", mean=CLIP_MEAN, std=CLIP_STD))
    pieces = [piece for block in blocks for piece in block]
    batch = [pieces[i % len(pieces)] for i in range(engine.batch_size)]
    count = max(engine.streams, len(pieces) * len(paths) // engine.batch_size)

    def run() -> int:
        with ThreadPoolExecutor(engine.streams) as pool:
            return sum(map(len, pool.map(batches.encode, [batch] * count)))

    return run


def speed(model: Model, precisions: list[str], paths: list[Path], quick: bool) -> list[Row]:
    """Measure views a second of each way and precision, side by side."""
    few = paths[: max(2, len(paths) // 8)]  # each takes several times as long as in batches
    base = "one image at a time, fp32"
    reference = Reference(model.spec, model.weights, model.device)
    contenders = {base: lambda: sum(len(reference(str(path))[0]) for path in few)}
    facts: dict[str, Row] = {}
    for precision in precisions:
        for way in ("device", "host"):
            engine = model.engine(precision, on_device=way == "device")
            name = f"files, views made on the {way}, {precision}"
            contenders[name] = lambda e=engine: encode(e, paths, model.weights, model.device)[0]  # type: ignore[misc]
            facts[name] = {"batch_size": engine.batch_size, "warning": "; ".join(engine.warnings)}
        size = ENGINES["torch"].batch_sizes[engine.resolved.kind]
        for batch in (size,) if quick else (size // 4, size // 2, size, size * 2):
            contenders[f"raw, batches of {batch}, {precision}"] = raw(
                model.engine(precision, batch_size=batch), paths
            )
    for name, run in contenders.items():  # the first time cuDNN chooses, and pools fill
        if model.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(model.device)
        run()
        if model.device.startswith("cuda"):
            peak = torch.cuda.max_memory_allocated(model.device)
            facts[name] = facts.get(name, {}) | {"gpu_peak_mb": round(peak / 2**20)}
    rates = alternate(contenders, 1 if quick else 2)
    return [
        {"backbone": model.spec.name, "contender": name, "views_per_second": statistics.median(values)}
        | {"x_one_at_a_time": ratio(rates, name, base)}
        | facts.get(name, {})
        for name, values in rates.items()
    ]


def table(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    frame = pd.DataFrame(rows, dtype=object).fillna("")
    cells = frame.map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value))
    lines = [list(cells), ["---"] * cells.shape[1], *cells.to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(report: Row) -> str:
    """Return the report as text."""
    facts = ", ".join(f"{k} {v}" for k, v in {**report["hardware"], **report["versions"]}.items())
    lines = [f"device={report['device']} on {report['machine']}: {facts}; {report['seconds']} s", ""]
    for name, rows in report["parts"].items():
        lines += [f"{name}:", "", table(rows), ""]
    lines += [f"left out: {reason}" for reason in report["left_out"]]
    return "\n".join(lines + [f"FAILED {name}: {why}" for name, why in report["failed"].items()]) + "\n"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; ``device`` becomes one that is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("--quick", action="store_true", help="the demo alone, no tests, no golden cases")
    parser.add_argument("--minutes", type=float, default=9.5, help="no part is begun after them")
    options = parser.parse_args(argv)
    try:
        options.device = resolve("torch", "fp32", options.device).device
    except UserError as error:
        parser.error(str(error))
    return options


def main(argv: list[str] | None = None) -> int:
    """Run each part, print and write the report."""
    options = parse(argv)
    device, quick, begin = options.device, options.quick, time.perf_counter()
    few, few_size, many, many_size = SIZES["quick" if quick else "cpu" if device == "cpu" else "gpu"]
    precisions = list(ENGINES["torch"].precisions[device.partition(":")[0]])[: 1 if quick else None]
    report: Row = {"device": device, "quick": quick, "machine": machine("cpu"), "versions": versions()}
    report |= {"hardware": hardware(device), "parts": {}, "failed": {}, "left_out": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths, timed = photos(folder / "few", few, few_size), photos(folder / "many", many, many_size)
        models = [
            Model(Backbone(name) if name == "demo" else Backbone(name, untrained=0), device)
            for name in MODELS[: 1 if quick else None]
        ]
        parts: dict[str, Callable[[], list[Row]]] = {
            "tests": lambda: device_tests(device),
            "golden": lambda: golden(device, precisions, folder),
            "agreement": lambda: agreement(models, precisions, paths),
            "speed": lambda: [row for model in models[:2] for row in speed(model, precisions, timed, quick)],
        }
        for name in list(parts)[2 if quick else 0 :]:
            if time.perf_counter() - begin > 60 * options.minutes:
                report["left_out"].append(f"{name}: its turn came after {options.minutes:g} minutes")
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                report["parts"][name] = parts[name]()
            except Exception as error:  # the other parts are worth knowing too
                report["failed"][name] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
    report["seconds"] = round(time.perf_counter() - begin, 1)
    options.out.mkdir(parents=True, exist_ok=True)
    text, stem = markdown(report), device.replace(":", "_")
    (options.out / f"{stem}.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / f"{stem}.md").write_text(text)
    print(text, end="")
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
