"""Settle on this machine what cannot be tested without its GPU: a JSON file, and a Markdown table for LOG.md.

    make gpu-check                                   on a machine with a GPU, under ten minutes, no network
    python scripts/gpu_check.py [--device cuda] [--out results/gpu] [--quick]

On a CPU (``make gpu-check DEVICE=cpu``) it does the same with fewer images, so that it takes about as long.

The tests of views made on a device; the golden cases of the official implementation in each precision; agreement of
cues with plain float32 torch on the CPU; views a second from files, views made on the device and on the host, with one
stream and all, beside the raw engine (in both memory layouts) and one image at a time; decoding threads needed; peak
memory. Weights are synthetic but for the demo's. A part that fails is listed with its error, and the rest goes on; the
exit code is 1 then. Speeds are of as many photos as float32 gets done in time; a part whose turn comes after
``--minutes`` is listed as left out.
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
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import open_clip
import torch
from benchmark import PAIRS, Peak, alternate, machine, ratio
from PIL import Image, ImageFilter
from scipy.stats import spearmanr

from magiqa.backbones.model import build_model
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_text
from magiqa.backbones.weights import load_weights
from magiqa.cores import decoders, usable_cores
from magiqa.engines import pytorch
from magiqa.engines.build import build
from magiqa.engines.hardware import hardware
from magiqa.engines.resolve import resolve
from magiqa.errors import UserError
from magiqa.features.batches import way_of
from magiqa.features.hashing import content_sha256
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.features.store import MemoryStore
from magiqa.images.views import CLIP_MEAN, CLIP_STD, Views
from magiqa.method.cues import BoxCox, similarity
from magiqa.method.fusion import Adaptive
from magiqa.runs.provenance import versions

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SIZE = (224, 224)
VIEWS = Views()
MODELS = ("RN50", "ViT-B-32", "demo")
# what is encoded: photos and their size for agreement, and for speed; the batch size; rounds
SIZES = {
    "quick": (6, (256, 256), 3, (512, 384), 4, 1),
    "cpu": (8, (352, 352), 4, (512, 512), 5, 2),
    "gpu": (24, (512, 512), 256, (1024, 768), "auto", 2),
}
SPEED_SECONDS, TESTS_SECONDS = 150, 150  # for all speeds of a model, and for the tests
CLOSE = {"fp32": 5e-5, "bf16": 5e-2, "fp16": 1e-2}  # of cues, from the official implementation's in float32


class Refused:
    """What a device refuses: one precision of one backbone is left out, with its reason, and the rest goes on."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def attempt(self, what: str, run: Callable[[], Any]) -> Any:
        """What a call returns; None where it is refused, which is told."""
        try:
            return run()
        except UserError as error:
            self.reasons.append(f"{what}: {error}")
            return None
        finally:
            gc.collect()  # what an engine held on the device


class Model:
    """A backbone with its text, and an engine for each precision, of the fastest batch size unless one is given."""

    def __init__(self, spec: Backbone, device: str, batch_size: Any = "auto") -> None:
        self.spec, self.device, self.batch_size = spec, device, batch_size
        self.weights = load_weights(spec)
        self.clip: Any = build_model(spec, self.weights)
        self.text, self.scale = encode_text(self.clip, spec, PAIRS)

    def engine(
        self, precision: str, *, batch_size: Any = None, on_device: bool = True, device: str = ""
    ) -> Any:
        """An engine on the device that is checked, or on another."""
        resolved = resolve("torch", precision, device or self.device)
        return build(
            self.clip.visual,
            resolved,
            batch_size=batch_size or self.batch_size,
            view_size=SIZE,
            on_device=on_device,
        )

    def cues(self, features: np.ndarray) -> dict[str, float]:
        """An image's cues from the features of its views."""
        by_view = similarity(features, self.text, self.scale).mean(axis=1), BoxCox()(features)
        fused, _ = Adaptive()(*by_view)
        return {
            "q_sim": float(by_view[0].mean()),
            "q_mag": float(by_view[1].mean()),
            "q": float(fused.mean()),
        }


def encode(engine: Any, paths: list[Path], model: Model, workers: int) -> tuple[int, list[np.ndarray]]:
    """Image files to features: how many views, and the features of each image."""
    cache = MemoryStore()
    keys = [content_sha256(path.read_bytes()) for path in paths]
    views, _ = fill_cache(
        cache,
        list(zip(map(str, paths), keys, strict=True)),
        lambda: engine,
        Recipe(VIEWS, None, model.weights.mean, model.weights.std),
        workers=workers,
        progress=False,
    )
    return views, [cache.features[key] for key in keys]


def photos(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Synthetic photos, from sharp to blurred and from clean to noisy, each another file."""
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


def device_tests(device: str) -> dict[str, Any]:
    """The tests of views made on a device and of the pipeline around them, on this one."""
    files = [
        "engines/test_device.py",
        "engines/test_gpu.py",
        "features/test_pipeline.py",
        "scorer/test_on_device.py",
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{f}" for f in files)]
    environment = os.environ | {"MAGIQA_TEST_DEVICE": device}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TESTS_SECONDS
    )
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.startswith(("E  ", "FAILED", "ERROR"))]
        raise RuntimeError("\n".join([*said[-20:], done.stdout.strip().splitlines()[-1]]))
    return {"result": done.stdout.strip().splitlines()[-1]}


def golden(device: str, precisions: list[str], refused: Refused) -> list[dict[str, Any]]:
    """The official implementation's numbers on the photos that scikit-image ships: the largest differences."""
    import skimage
    from safetensors.torch import save_file

    spec = spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    assert spec is not None and spec.loader is not None
    golden_weights = module_from_spec(spec)
    spec.loader.exec_module(golden_weights)
    cases = json.loads((GOLDEN / "golden_skimage.json").read_text())
    folder = Path(skimage.__file__).parent / "data"
    rows = []
    for backbone in ("RN50", "ViT-B-32"):
        chosen = [
            c
            for c in cases["cases"]
            if c["backbone"] == f"{backbone}-quickgelu" and c["preset"] == "AGIQA-3k"
        ]
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / "weights.safetensors"
            untrained = open_clip.create_model(f"{backbone}-quickgelu", pretrained=None)
            state = golden_weights.fill(untrained.state_dict(), cases["seed"])
            save_file({k: v.clone().contiguous() for k, v in state.items()}, file)
            model = Model(Backbone(backbone, checkpoint=str(file), quickgelu=True), device)
        for precision in precisions:
            engine = refused.attempt(
                f"golden {backbone} {precision}", lambda p=precision, m=model: m.engine(p, batch_size=8)
            )
            if engine is None:
                continue
            _, features = encode(engine, [folder / c["image"] for c in chosen], model, 2)
            worst = {"norm": 0.0, "q_sim": 0.0, "q_mag": 0.0}
            for rows_of, case in zip(features, chosen, strict=True):
                norms = np.linalg.norm(rows_of.astype(np.float64), axis=1)
                found = {
                    "norm": norms / case["feature_norm"] - 1,
                    "q_sim": similarity(rows_of, model.text, model.scale).mean(axis=1) - case["q_sim"],
                    "q_mag": BoxCox(0.5)(rows_of) - case["q_mag"],
                }
                worst = {name: max(worst[name], float(np.abs(d).max())) for name, d in found.items()}
            rows.append(
                {
                    "backbone": backbone,
                    "precision": precision,
                    "images": len(chosen),
                    "max_error": engine.max_error,
                }
                | worst
                | {"holds": max(worst.values()) <= CLOSE[precision]}
            )
    return rows


def agreement(
    models: list[Model], precisions: list[str], paths: list[Path], refused: Refused
) -> list[dict[str, Any]]:
    """Cues on the device against plain float32 torch on the CPU: SRCC over images, largest difference."""
    rows = []
    for model in models:
        _, plain = encode(model.engine("fp32", batch_size=8, on_device=False, device="cpu"), paths, model, 2)
        expected = [model.cues(features) for features in plain]
        for precision in precisions:
            what = f"agreement {model.spec.name} {precision}"
            engine = refused.attempt(what, lambda p=precision, m=model: m.engine(p, batch_size=8))
            if engine is None:
                continue
            _, features = encode(engine, paths, model, 2)
            found = [model.cues(f) for f in features]
            row: dict[str, Any] = {"backbone": model.spec.name, "precision": precision, "images": len(paths)}
            for cue in ("q_sim", "q_mag", "q"):
                a, b = ([one[cue] for one in cues] for cues in (found, expected))
                row[f"{cue}_srcc"] = float(spearmanr(a, b).statistic)
                row[f"{cue}_largest"] = float(np.abs(np.subtract(a, b)).max())
            rows.append(row)
    return rows


def one_at_a_time(model: Model, paths: list[Path]) -> Callable[[], int]:
    """Stock open_clip on the device, float32: each image decoded, sent as float32, cut and encoded before the next."""
    visual = build_model(model.spec, model.weights).visual.to(model.device)  # type: ignore[operator,union-attr]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (model.weights.mean, model.weights.std))

    def run() -> int:
        views = 0
        for path in paths:
            with Image.open(path) as image:
                pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
            pixels = ((pixels - mean) / std).to(model.device)
            windows = (
                pixels.unfold(1, 224, 128).unfold(2, 224, 128).permute(1, 2, 0, 3, 4).reshape(-1, 3, *SIZE)
            )
            whole = torch.nn.functional.interpolate(pixels[None], SIZE, mode="bilinear", align_corners=False)
            with torch.inference_mode():
                views += len(visual(torch.cat([windows, whole])).cpu())
        return views

    return run


def speed(
    model: Model, precisions: list[str], paths: list[Path], rounds: int, refused: Refused
) -> list[dict[str, Any]]:
    """Views a second of each way and precision, side by side, with what each takes of memory."""
    workers = decoders(model.device)
    paths = paths[: affordable(model, paths, workers, passes=(2 + 4 * len(precisions)) * (rounds + 1))]
    few = paths[: max(2, len(paths) // 8)]  # each takes several times as long as in batches
    contenders: dict[str, Callable[[], int]] = {"one image at a time fp32": one_at_a_time(model, few)}
    facts: dict[str, dict[str, Any]] = {}
    for precision in precisions:
        on_device = refused.attempt(f"speed {precision}", lambda p=precision: model.engine(p))
        if on_device is None:
            continue
        size = on_device.batch_size
        alone = model.engine(precision, batch_size=size)
        alone.streams = 1
        fed = {"views on the device": on_device, "views on the device, one stream": alone}
        if precision == "fp32":
            fed["views on the host"] = model.engine(precision, batch_size=size, on_device=False)
        contenders[f"raw engine, pixels sent before {precision}"] = raw(on_device, paths)
        with mock.patch.object(pytorch, "memory_format", other_layout(pytorch.memory_format)):
            what = f"speed {precision}, the other memory layout"
            other = refused.attempt(what, lambda p=precision, n=size: model.engine(p, batch_size=n))
        if other is not None:
            contenders[f"raw engine, the other memory layout {precision}"] = raw(other, paths)
        for way, engine in fed.items():
            name = f"files, {way} {precision}"
            contenders[name] = lambda engine=engine: encode(engine, paths, model, workers)[0]  # type: ignore[misc]
            facts[name] = {
                "batch_size": size,
                "streams": engine.streams,
                "warning": "; ".join(engine.warnings),
            }
            facts[name] |= memory(model.device, contenders[name])
    for name, run in contenders.items():
        if name not in facts:  # those have run once: cuDNN chooses, pools fill
            run()
    rates = alternate(contenders, rounds)
    base = "one image at a time fp32"
    return [
        {"backbone": model.spec.name, "contender": name, "images": len(few if name == base else paths)}
        | {"views_per_second": statistics.median(values)}
        | {"x_one_at_a_time": ratio(rates, name, base)}
        | facts.get(name, {})
        for name, values in rates.items()
    ]


def affordable(model: Model, paths: list[Path], workers: int, passes: int) -> int:
    """How many photos the engine can pass so often in float32 in `SPEED_SECONDS`; 2 at least."""
    engine = model.engine("fp32", batch_size=8)
    few = paths[:8]
    encode(engine, few[:1], model, 1)  # not timed: the first forward is slower
    start = time.perf_counter()
    encode(engine, few, model, workers)
    each = (time.perf_counter() - start) / len(few)
    return max(2, min(len(paths), int(SPEED_SECONDS / (passes * each))))


def other_layout(chosen: Callable[..., Any]) -> Callable[..., Any]:
    """Channels last where they would be first, and the other way round."""
    layouts = (torch.channels_last, torch.contiguous_format)
    return lambda *args: layouts[layouts.index(chosen(*args)) - 1]


def worthwhile(model: Model, precisions: list[str], refused: Refused) -> list[str]:
    """The precisions to time: without arithmetic for bf16 it would take most of the check."""
    out = []
    for precision in precisions:
        engine = refused.attempt(f"speed of {precision}", lambda p=precision: model.engine(p, batch_size=2))
        if engine is not None and any("bf16" in warning for warning in engine.warnings):
            refused.reasons += [f"speed of {precision}: {warning}" for warning in engine.warnings]
        elif engine is not None:
            out.append(precision)
    return out


def raw(engine: Any, paths: list[Path]) -> Callable[[], int]:
    """The engine alone: an image's pixels lie on its device, and as many views as of all are made of it and encoded."""
    way = way_of(engine, VIEWS.window)
    with Image.open(paths[0]) as image:
        blocks = list(way.cut(image.convert("RGB"), VIEWS, name="raw", mean=CLIP_MEAN, std=CLIP_STD))
    views = [view for block in blocks for view in block]
    batch = [views[i % len(views)] for i in range(engine.batch_size)]
    repeats = max(engine.streams, -(-len(views) * len(paths) // engine.batch_size))

    def run() -> int:
        with ThreadPoolExecutor(engine.streams) as pool:
            return sum(map(len, pool.map(way.encode, [batch] * repeats)))

    return run


def memory(device: str, run: Callable[[], int]) -> dict[str, float]:
    """Peak memory of a run in MB, on top of what lay there: of the GPU, where there is one, and of this process."""
    before = 0
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)  # towers of other engines too
    with Peak() as peak:
        run()
    own = {"host_peak_mb": round(peak.mb)}
    if device.startswith("cuda"):
        own["gpu_peak_mb"] = round((torch.cuda.max_memory_allocated(device) - before) / 2**20)
    elif device == "mps":
        own["gpu_mb"] = round(torch.mps.driver_allocated_memory() / 2**20)
    return own


def decoding(model: Model, precision: str, paths: list[Path], batch_size: Any) -> dict[str, Any]:
    """Views a second by decoding threads, and the fewest that reach 95 % of the most."""
    engine = model.engine(precision, batch_size=batch_size)
    most = usable_cores()
    counts = sorted({n for n in (1, 2, 3, 4, 6, 8, 16, 32) if n <= most} | {most})
    rates = {}
    for count in counts:
        start = time.perf_counter()
        views, _ = encode(engine, paths, model, count)
        rates[count] = views / (time.perf_counter() - start)
    enough = next(n for n in counts if rates[n] >= 0.95 * max(rates.values()))
    return {
        "backbone": model.spec.name,
        "precision": precision,
        "images": len(paths),
        "views_per_second": rates,
        "enough": enough,
        "cores": most,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def cell(value: Any) -> str:
        if isinstance(value, bool) or value is None:
            return {True: "yes", False: "NO", None: ""}[value]
        if isinstance(value, float):
            return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
        return str(value)

    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(c)) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run each part, print and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument(
        "--quick", action="store_true", help="under 30 s: the demo alone, no tests, no golden cases"
    )
    parser.add_argument("--minutes", type=float, default=9.5, help="no part is begun after them")
    options = parser.parse_args(argv)
    try:
        device = resolve("torch", "fp32", options.device).device
    except UserError as error:
        parser.error(str(error))
    quick, on_cpu = options.quick, device == "cpu"
    precisions = ["fp32"] if on_cpu and quick else ["fp32", "bf16"] if on_cpu else ["fp32", "bf16", "fp16"]
    few_n, few_size, many_n, many_size, batch_size, rounds = SIZES[
        "quick" if quick else "cpu" if on_cpu else "gpu"
    ]
    report: dict[str, Any] = {
        "device": device,
        "quick": quick,
        "machine": machine(),
        "versions": versions(),
        "hardware": hardware(device),
        "failed": {},
        "left_out": [],
    }
    begin, refused = time.perf_counter(), Refused()
    with tempfile.TemporaryDirectory() as temporary:
        few = photos(Path(temporary) / "few", few_n, few_size)
        many = photos(Path(temporary) / "many", many_n, many_size)
        models = [
            Model(Backbone(n) if n == "demo" else Backbone(n, untrained=0), device, batch_size)
            for n in (("demo",) if quick else MODELS)
        ]
        fast = worthwhile(models[0], precisions, refused)
        parts: dict[str, Callable[[], Any]] = {
            "agreement": lambda: agreement(models, precisions, few, refused),
            "speed": lambda: [  # the demo, so small a network, shows the pipeline's own limit
                row
                for model, timed in {models[-1]: fast[-1:], models[0]: fast}.items()
                for row in speed(model, timed, many, rounds, refused)
            ],
            "decoding": lambda: [
                decoding(model, fast[-1], *_timed(report, many, model))
                for model in dict.fromkeys((models[0], models[-1]))
            ],
        }
        if not quick:
            tests = {
                "tests": lambda: device_tests(device),
                "golden": lambda: golden(device, precisions, refused),
            }
            parts = tests | parts
        for name, part in parts.items():
            if time.perf_counter() - begin > 60 * options.minutes:
                report["left_out"].append(f"{name}: its turn came after {options.minutes:g} minutes")
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                report[name] = part()
            except Exception as error:  # the other parts are worth knowing too
                report["failed"][name] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            gc.collect()
    report["left_out"] += refused.reasons
    if any(not row["holds"] for row in report.get("golden", [])):
        report["failed"]["golden"] = "cues differ from the official implementation's by more than " + str(
            CLOSE
        )
    report["seconds"] = round(time.perf_counter() - begin, 1)
    options.out.mkdir(parents=True, exist_ok=True)
    text = markdown(report)
    name = device.replace(":", "_")
    (options.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / f"{name}.md").write_text(text)
    print(text, end="")
    return 1 if report["failed"] else 0


def _timed(report: dict[str, Any], paths: list[Path], model: Model) -> tuple[list[Path], Any]:
    """As many photos as the speeds of a model were of, and the batch size that was found for its last precision."""
    rows = [row for row in report.get("speed") or [] if row["backbone"] == model.spec.name]
    sizes = [row["batch_size"] for row in rows if row.get("batch_size")]
    return paths[: rows[-1]["images"] if rows else 8], sizes[-1] if sizes else "auto"


def markdown(report: dict[str, Any]) -> str:
    """The report for ``LOG.md``."""
    named = ", ".join(f"{k} {v}" for k, v in {**report["hardware"], **report["versions"]}.items())
    lines = [f"device={report['device']} on {report['machine']}: {named}; {report['seconds']} s", ""]
    if "tests" in report:
        lines += [f"Device tests: {report['tests']['result']}", ""]
    for name, title in (
        ("golden", "Golden cases: largest differences from the official implementation"),
        ("agreement", "Cues beside plain float32 torch on the CPU"),
        ("speed", "Views a second"),
    ):
        if name in report:
            lines += [f"{title}:", "", table(report[name]), ""]
    for found in report.get("decoding", []):
        rates = ", ".join(f"{n}: {rate:.0f}" for n, rate in found["views_per_second"].items())
        lines += [
            f"Decoding threads ({found['backbone']} {found['precision']}): views/s by threads {rates}; "
            f"{found['enough']} are enough",
            "",
        ]
    lines += [f"Left out: {what}" for what in report["left_out"]]
    lines += [f"FAILED {name}: {why}" for name, why in report["failed"].items()]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
