"""What does an engine wait for? The pipeline's stages on the clock, from image files to features in memory.

    python scripts/idle.py --images DIR [--model RN50] [--count 24] [--rounds 3] [--json FILE]
    python scripts/idle.py --images DIR --stub

Each engine of the model with the seconds of each stage, and the share of its streams' time in which they had nothing to
do. With ``--stub`` a GPU as its host sees it instead: 20,000 views a second, whichever they are. It is fed by sixteen
threads that wait as long as decoding a photo takes here (a machine of sixteen cores, whose decoding costs this one
nothing: what is left is Python, queues and the copy of the pixels), with and without what PyTorch's calls for the views
and the tower cost on the host, and by this machine's own cores.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from open_clip.modified_resnet import ModifiedResNet

from magiqa.backbones.model import build_model
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import load_weights
from magiqa.engines.build import build
from magiqa.engines.device import OnDevice
from magiqa.engines.resolve import resolve, threads
from magiqa.engines.towers import optimize
from magiqa.errors import UserError
from magiqa.features.batches import way_of
from magiqa.features.hashing import content_sha256
from magiqa.features.memory_cache import MemoryCache
from magiqa.features.pipeline import fill_cache, load_file
from magiqa.images.views import CLIP_MEAN, CLIP_STD, Views

VIEWS = Views()
RATE = 20_000  # views a second of the stub
DECODERS = 16


class Clocked:
    """An engine and its way with the pipeline, every stage on the clock of the threads that run it.

    Attributes:
        seconds: of the wall's clock, summed over a stage's threads: ``decode`` (read, decode, controls), ``cut`` (until
            a view is handed over) and ``engine`` (views copied into batches and encoded). cpu: of those, on a core.
    """

    def __init__(self, engine: Any, load: Callable[..., Any]) -> None:
        self.read = load
        self.batch_size, self.streams = engine.batch_size, engine.streams
        self.seconds: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self.lock = threading.Lock()
        self.inner = way_of(engine, VIEWS.window)
        self.way = SimpleNamespace(cut=self.cut, encode=self.encode)

    def timed(self, stage: str, run: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run something on the clock of a stage."""
        start, cpu = time.perf_counter(), time.thread_time()
        try:
            return run(*args, **options)
        finally:
            cpu = time.thread_time() - cpu
            with self.lock:
                self.seconds[stage] += time.perf_counter() - start
                self.cpu[stage] += cpu

    def load(self, *args: Any) -> Any:
        """Read and decode an image."""
        return self.timed("decode", self.read, *args)

    def cut(self, *args: Any, **options: Any) -> Iterator[Any]:
        """Cut an image into views."""
        blocks = self.inner.cut(*args, **options)
        while (block := self.timed("cut", next, blocks, None)) is not None:
            yield block

    def encode(self, views: Any) -> Any:
        """Copy views together and encode them."""
        return self.timed("engine", self.inner.encode, views)


def profile(
    engine: Any,
    wanted: list[tuple[Any, str]],
    workers: int,
    load: Callable[..., Any] = load_file,
    **options: Any,
) -> dict[str, float]:
    """Views a second through the pipeline, seconds of each stage, the share of its streams' time an engine idled."""
    clocked = Clocked(engine, load)
    normalization = {"mean": CLIP_MEAN, "std": CLIP_STD} | options
    start, cpu, main = time.perf_counter(), time.process_time(), time.thread_time()
    views, _ = fill_cache(
        MemoryCache(),
        wanted,
        lambda: clocked,
        views=VIEWS,
        workers=workers,
        load=clocked.load,
        progress=False,
        **normalization,
    )
    wall = time.perf_counter() - start
    return {
        "views_per_second": views / wall,
        "wall": wall,
        "idle": 1 - clocked.seconds["engine"] / (engine.streams * wall),
        "cores": (time.process_time() - cpu) / wall,
        "main_cpu": time.thread_time() - main,
        **clocked.seconds,
        **{f"{stage}_cpu": value for stage, value in clocked.cpu.items()},
    }


class Timeline:
    """A GPU as its host sees it: a queue that is worked off at `RATE`; a call returns when its views are done.

    Args:
        host: what the host does for each batch before it waits: PyTorch's calls.
    """

    batch_size, streams = 64, 2

    def __init__(self, host: Callable[[Any], object] = len, *, on_device: bool = True) -> None:
        self.host = host
        self.drawer = np.random.default_rng(0).standard_normal((self.batch_size, 1024)).astype(np.float32)
        self.lock, self.free, self.busy = threading.Lock(), 0.0, 0.0
        if on_device:
            made = OnDevice(torch.device("cpu"), self.batch_size, VIEWS.window, nullcontext, self, self)
            self.way = SimpleNamespace(cut=made.cut, encode=self)

    def __call__(self, views: Any) -> np.ndarray:
        """Views -> (B, 1024)."""
        self.host(views)
        with self.lock:
            self.free = max(self.free, time.perf_counter()) + len(views) / RATE
            self.busy += len(views) / RATE
            end = self.free
        time.sleep(max(0.0, end - time.perf_counter()))
        return self.drawer[: len(views)]


class _Call(torch.nn.Module):
    """A layer that costs its call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)


class Calls:
    """What PyTorch's calls cost the host: those of the views and of RN50, on so few pixels that they cost little else.

    Each of the tower's layers is a call of the cheapest kind. What launching a kernel on a GPU costs comes on top.
    """

    def __init__(self) -> None:
        tower: Any = ModifiedResNet((3, 4, 6, 3), output_dim=8, heads=1, image_size=32, width=2)
        tower.attnpool = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(20)))
        tower = optimize(tower)
        for module in list(tower.modules()):
            for name, child in module.named_children():
                if isinstance(
                    child, torch.nn.Conv2d | torch.nn.AvgPool2d | torch.nn.ReLU | torch.nn.Identity
                ):
                    setattr(module, name, _Call())
        self.tower, self.view = tower, torch.zeros((1, 3, 4, 4))
        size, stride = 8, 5  # as many windows of a picture as 224 and 128 give one of 512
        self.small = OnDevice(torch.device("cpu"), Timeline.batch_size, size, nullcontext, self.run, self.run)
        side = (512 - 224) // 128 * stride + size
        pixels = np.zeros((side, side, 3), np.uint8)
        self.pieces = [
            p for block in self.small.cut(pixels, Views(window=size, stride=stride)) for p in block
        ]

    def run(self, batch: torch.Tensor) -> np.ndarray:
        """The tower's calls."""
        torch.set_num_threads(1)
        return self.tower(self.view).repeat(len(batch), 1, 1, 1).numpy()  # type: ignore[no-any-return]

    def __call__(self, views: Any) -> None:
        """Those for so many views."""
        many = -(-len(views) // len(self.pieces))
        self.small.encode((self.pieces * many)[: len(views)])


def alone(engine: Timeline) -> float:
    """The share of a stub's time that two threads with nothing else to do keep it busy."""
    batch = [None] * engine.batch_size
    engine.busy, start = 0.0, time.perf_counter()
    with ThreadPoolExecutor(engine.streams) as pool:
        list(pool.map(engine, [batch] * 300))
    return engine.busy / (time.perf_counter() - start)


def stub(paths: list[str], rounds: int) -> dict[str, Any]:
    """How busy the stub is kept, in turn by each; the median of rounds, and where the host's time goes an image."""
    wanted = [(path, content_sha256(Path(path).read_bytes())) for path in paths]
    decoding = statistics.median(_cpu_seconds(load_file, *wanted[i % len(wanted)]) for i in range(50))
    pixels, _ = load_file(*wanted[0])
    ready = np.asarray(pixels.convert("RGB"))  # type: ignore[union-attr]

    def waiting(item: Any, key: str) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(decoding)
        return ready, np.zeros(4)

    calls = Calls()
    many = [(str(i), str(i)) for i in range(3000)]
    few = wanted * max(1, 200 // len(wanted))
    few = [(path, f"{i} {key}") for i, (path, key) in enumerate(few)]

    def known(path: str, key: str) -> Any:
        return load_file(path, key.split()[1])

    contenders: dict[str, Callable[[Timeline], dict[str, float]]] = {
        f"{DECODERS} decoders simulated": lambda e: profile(e, many, DECODERS, waiting),
        f"{DECODERS} decoders simulated, PyTorch's calls": lambda e: profile(e, many, DECODERS, waiting),
        f"{threads()} cores decode": lambda e: profile(e, few, threads(), known),
        f"{threads()} cores decode, views on the host": lambda e: profile(e, few, threads(), known),
    }
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(rounds):
        found["two threads alone"].append({"busy": alone(Timeline())})
        for name, run in contenders.items():
            engine = Timeline(calls if "calls" in name else len, on_device="host" not in name)
            row = run(engine)
            found[name].append({"busy": engine.busy / row["wall"]} | row)
    rows = {name: {k: statistics.median(r[k] for r in each) for k in each[0]} for name, each in found.items()}
    return {"decode_seconds": decoding, "rows": rows}


def _cpu_seconds(run: Callable[..., object], *args: Any) -> float:
    start = time.thread_time()
    run(*args)
    return time.thread_time() - start


def engines(model: str, paths: list[str], names: list[str], batch_size: int, rounds: int) -> dict[str, Any]:
    """The profile of each engine, in turn; the medians of rounds."""
    spec = Backbone(model, untrained=0) if model != "demo" else Backbone("demo")
    weights = load_weights(spec)
    visual: Any = build_model(spec, weights).visual
    wanted = [(path, content_sha256(Path(path).read_bytes())) for path in paths]
    built = {}
    for name in names:
        engine, precision = name.split()
        try:
            built[name] = build(
                visual, resolve(engine, precision, "cpu"), batch_size=batch_size, view_size=(224, 224)
            )
        except UserError as error:
            print(f"{name}: left out: {error}")
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, engine in built.items():
            found[name].append(profile(engine, wanted, threads(), mean=weights.mean, std=weights.std))
    return {name: {k: statistics.median(r[k] for r in each) for k in each[0]} for name, each in found.items()}


def show(rows: dict[str, dict[str, float]]) -> None:
    """Print rows as a Markdown table."""
    columns = list(dict.fromkeys(k for row in rows.values() for k in row))
    print("| | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 1))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[c]:.3g}" if c in row else "" for c in columns) + " |")


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", required=True, help="a folder; COUNT of them are used, evenly spread by name"
    )
    parser.add_argument("--model", default="RN50", help="an open_clip name, or demo")
    parser.add_argument("--engines", default="torch fp32,openvino fp32")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--stub", action="store_true", help="a stub of 20,000 views/s in place of the engines"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    files = sorted(p for p in Path(options.images).iterdir() if p.suffix.lower() in (".jpg", ".png", ".bmp"))
    paths = [str(p) for p in files[:: max(1, len(files) // options.count)][: options.count]]
    if options.stub:
        if (
            "MALLOC_MMAP_THRESHOLD_" not in os.environ
        ):  # memory is kept where it is freed, as torch keeps what is pinned
            kept = {f"MALLOC_{name}_THRESHOLD_": str(1 << 30) for name in ("MMAP", "TRIM")}
            os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | kept)
        report = stub(paths, options.rounds)
        print(f"decoding a photo: {report['decode_seconds'] * 1e3:.2f} ms of a core")
    else:
        report = {
            "rows": engines(options.model, paths, options.engines.split(","), options.batch, options.rounds)
        }
    show(report["rows"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
