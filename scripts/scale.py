"""Does magiqa carry a large set? Bytes read for hashing, and a job of many images in 1, 2, 4 and 8 tasks.

    python scripts/scale.py hashing [--gb 40] [--images 400] [--folder DIR]
    python scripts/scale.py tasks [--images 33000] [--tasks 1,2,4,8] [--folder DIR]
    python scripts/scale.py statistics
    python scripts/scale.py ablation

``hashing``: JPEG files padded with a hole after their end, so that they hold GB of bytes and take no disk; a first and
a second run, and 8 parts on an empty index: seconds, files and bytes read.
``tasks``: tiny images and a stub in place of the backbone, so that what remains is magiqa's own work: seconds, file
operations (by Python's audit events and counted stats) and peak memory of each task.
``statistics``: `agreement` with 1,000 resamples at 1,000 to 100,000 images, each in a process of its own: CPU seconds,
also divided by n log n, and peak memory.
``ablation``: lambdas with intervals and paired differences on made-up features, ten views of 256 an image, in the same
way: scoring (one pass over the features) and statistics apart. 101 lambdas up to SPAQ's size, 11 beyond.
"""

import argparse
import collections
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magiqa.config.launch import launch
from magiqa.config.watch import watch
from magiqa.features import hashing
from magiqa.features.hashing import HashIndex, hash_files
from magiqa.runs.launcher import Launcher

EVENTS = ("open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "glob.glob")


def jpeg(size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG")
    return stream.getvalue()


def measure_hashing(folder: Path, images: int, gb: float) -> None:
    (folder / "set").mkdir()
    data, each = jpeg((1024, 768)), int(gb * 1e9 / images)
    paths = [str(folder / "set" / f"{i}.jpg") for i in range(images)]
    for i, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(data + i.to_bytes(4, "big"))
            file.truncate(each)
    time.sleep(hashing.RACY_NS / 1e9 + 0.5)

    def run(what: str, parts: list[list[str]], cache: str, **options: Any) -> None:
        begin, read, size, known = time.perf_counter(), 0, 0, 0
        for part in parts:
            index = HashIndex(folder / cache, folder / "set", **options)
            hash_files(part, "raise", index)
            read, size, known = read + index.read, size + index.bytes, known + index.known
        seconds = time.perf_counter() - begin
        print(
            f"{what:<26} {seconds:8.2f} s  {read:>6} files read, {size / 1e9:6.2f} GB; {known:>6} from the index",
            flush=True,
        )

    print(f"{images} files, {images * each / 1e9:.1f} GB")
    run("first run", [paths], "one")
    run("second run", [paths], "one")
    run("8 parts, empty index", [paths[i::8] for i in range(8)], "parts")
    run("8 parts again", [paths[i::8] for i in range(8)], "parts")
    run("the whole set after them", [paths], "parts")


def part(item: tuple[str, str, int, int]) -> dict[str, Any]:
    """In a task of its own: encode a part with a stub backbone, and count."""
    import collections
    import os
    import resource
    import sys
    import time
    from pathlib import Path
    from types import SimpleNamespace

    import numpy as np

    folder, cache, i, n = item
    counts: collections.Counter[str] = collections.Counter()
    on = [False]

    def count(event: str, args: tuple[Any, ...]) -> None:
        again = event == "open" and args[1] is None  # os.open, inside an open() that was counted
        if on[0] and event in EVENTS and not again and folder in str(args[0]):
            counts[event] += 1

    sys.addaudithook(count)
    stat = os.stat

    def counting(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if on[0] and folder in str(path):
            counts["stat"] += 1
        return stat(path, *args, **options)

    os.stat = counting  # type: ignore[assignment]
    sys.path.insert(0, f"{folder}/tests")
    import tiny

    from magiqa.config.compose import Configs
    from magiqa.features import from_images
    from magiqa.features.source import prepare
    from magiqa.runs.provenance import Clock

    drawer = np.random.default_rng(0).standard_normal((1000, 1024)).astype(np.float32)

    def stub(views: np.ndarray) -> np.ndarray:
        start = int(abs(float(views[0, 0, 0, 0])) * 1e6) % 900
        return drawer[start : start + len(views)]

    class Stub(SimpleNamespace):
        def __call__(self, views: np.ndarray) -> np.ndarray:
            return stub(views)

    facts = {"batch_size": 10, "streams": 1, "max_error": 0.0, "tolerance": 5e-6, "warning": None}
    from_images.build = lambda *args, **options: Stub(**facts)  # type: ignore[assignment]
    typed = tiny.overrides(Path(folder), f"cache_dir={cache}", f"part={i}/{n}", "views.window=32")
    typed = [t for t in typed if "group" not in t and "mos_std" not in t]
    job = Configs().job(typed)
    begin = time.perf_counter()
    on[0] = True
    features = prepare(job, Clock(), progress=False)
    on[0] = False
    used = resource.getrusage(resource.RUSAGE_SELF)
    cache_record = features.record["cache"]
    return {
        "seconds": time.perf_counter() - begin,
        "images": len(features.images),
        "views": cache_record["views_encoded"],
        "bytes_hashed": cache_record["hashes"]["bytes"],
        "peak_mb": used.ru_maxrss / 1024,
        "cpu": used.ru_utime + used.ru_stime,
        "operations": dict(counts),
    }


def measure_tasks(folder: Path, images: int, tasks: list[int]) -> None:
    import shutil

    (folder / "set").mkdir()
    data = jpeg((64, 48))
    for i in range(images):
        (folder / "set" / f"{i:05}.jpg").write_bytes(data + i.to_bytes(4, "big"))
    rows = "\n".join(f"{i:05}.jpg,{i % 97}" for i in range(images))
    (folder / "set" / "labels.csv").write_text(f"image,mos\n{rows}\n")
    tests = Path(__file__).resolve().parents[1] / "tests"
    (folder / "tests").symlink_to(tests)
    sys.path.insert(0, str(tests))
    import tiny

    (folder / "clip").mkdir()
    (folder / "clip" / "open_clip_config.json").write_text(json.dumps(tiny.CONFIG))
    time.sleep(hashing.RACY_NS / 1e9 + 0.5)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tests.parent), os.environ.get("PYTHONPATH", "")])
    for n in tasks:
        cache = folder / f"cache-{n}"
        shares = [[(str(folder), str(cache), i, n)] for i in range(1, n + 1)]
        begin = time.perf_counter()
        found = watch(launch(Launcher("local", jobs=n, timeout_min=600), part, shares, folder))
        wall = time.perf_counter() - begin
        errors = [o.error for outcomes in found for o in outcomes if o.error]
        if errors:
            raise SystemExit(errors[0])
        done = [outcomes[0].value for outcomes in found]
        total: collections.Counter[str] = collections.Counter()
        for one in done:
            total.update(one["operations"])
        size = sum(f.stat().st_size for f in (cache / "features").glob("*/*"))
        print(
            f"{n} tasks: {wall:6.1f} s wall, longest task {max(d['seconds'] for d in done):6.1f} s, "
            f"{sum(d['cpu'] for d in done):.0f} s of CPU; "
            f"{sum(d['images'] for d in done)} images, {sum(d['views'] for d in done)} views; hashed "
            f"{sum(d['bytes_hashed'] for d in done) / 1e6:.1f} MB; "
            f"peak {max(d['peak_mb'] for d in done):.0f} MB a task; "
            f"{sum(total.values()) / images:.2f} file operations an image {dict(total)}; "
            f"{len(list(cache.glob('*/*/*')))} files, {size / 1e6:.0f} MB",
            flush=True,
        )
        shutil.rmtree(cache)


def measure_statistics(sizes: tuple[int, ...] = (1_000, 3_000, 11_125, 33_000, 100_000)) -> None:
    code = (
        "import sys, time, resource, numpy as np\n"
        "from magiqa.stats.agreement import agreement\n"
        "n = int(sys.argv[1]); rng = np.random.default_rng(0)\n"
        "y = rng.normal(size=n); x = 0.6 * y + 0.8 * rng.normal(size=n)\n"
        "agreement(x[:100], y[:100], resamples=100)\n"
        "start = time.process_time(); agreement(x, y, resamples=1000)\n"
        "print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    for n in sizes:
        done = subprocess.run(
            [sys.executable, "-c", code, str(n)], capture_output=True, text=True, check=True
        ).stdout
        seconds, peak = map(float, done.split())
        print(
            f"n {n:7,}: {seconds:6.2f} s of CPU, {1e6 * seconds / (n * np.log2(n)):.2f} us / (n log2 n), {peak:.0f} MB"
        )


def ablation(n: int, lambdas: int) -> None:
    """In a process of its own: print the CPU seconds of scoring and of statistics, and the peak memory."""
    import resource
    from types import SimpleNamespace

    import pandas as pd

    from magiqa.backbones.spec import Backbone
    from magiqa.images.views import Views
    from magiqa.method.cues import BoxCox
    from magiqa.method.fusion import Adaptive
    from magiqa.method.prompts import PromptSet
    from magiqa.runs.config import Method
    from magiqa.scoring.score import score_many
    from magiqa.stats.variants import statistics

    views, width, at_once = 10, 256, 400
    drawer = np.random.default_rng(0).standard_normal((2 * at_once * views, width)).astype(np.float32)

    def blocks(images: list[str]) -> Any:  # made as they are asked for: no set lies in memory
        for first in range(0, n, at_once):
            owner = np.repeat(np.arange(first, min(first + at_once, n)), views)
            shift = first % (at_once * views)
            yield owner, drawer[shift : shift + len(owner)] * np.float32(1 + first / n)

    names = [str(i) for i in range(n)]
    text = np.random.default_rng(1).standard_normal((5, 2, width)).astype(np.float32) / np.sqrt(width)
    stub = SimpleNamespace(
        table=pd.DataFrame({"image": names}),
        images=names,
        cache=SimpleNamespace(blocks=blocks),
        kinds=("windows", "global"),
        text=lambda prompts: (text, 100.0),
    )
    base = (Backbone("demo"), PromptSet("stub", (("good", "bad"),)), Views())
    methods = [Method(*base, BoxCox(float(lam)), Adaptive()) for lam in np.linspace(-1, 1, lambdas)]
    start = time.process_time()
    matrix = score_many(stub, methods)["q"]
    scored = time.process_time()
    y = matrix[0] + matrix[0].std() * np.random.default_rng(2).standard_normal(n)
    statistics(matrix, y, lambdas // 2, groups=np.arange(n) % 6, resamples=1000)
    seconds = scored - start, time.process_time() - scored
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def measure_ablation(sizes: tuple[int, ...] = (3_000, 10_073, 11_125, 33_000, 100_000)) -> None:
    for n in sizes:
        lambdas = 101 if n <= 11_125 else 11
        code = f"import runpy; runpy.run_path({__file__!r})['ablation']({n}, {lambdas})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        scoring, stats, peak = json.loads(done.stdout)
        unit = 1e6 / (lambdas * n)
        print(
            f"n {n:7,}, {lambdas:3} lambdas: scoring {scoring:6.1f} s of CPU ({unit * scoring:.1f} us each), "
            f"statistics {stats:6.1f} s ({unit * stats:.1f} us; {unit * stats / np.log2(n):.2f} us / log2 n), "
            f"{peak:.0f} MB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["hashing", "tasks", "statistics", "ablation"])
    parser.add_argument("--gb", type=float, default=40)
    parser.add_argument("--images", type=int)
    parser.add_argument("--tasks", default="1,2,4,8")
    parser.add_argument("--folder", help="where to write; default: the system's folder for temporary files")
    options = parser.parse_args()
    if options.what == "statistics":
        return measure_statistics()
    if options.what == "ablation":
        return measure_ablation(*[(options.images,)] if options.images else [])
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.what == "hashing":
            measure_hashing(Path(name), options.images or 400, options.gb)
        else:
            measure_tasks(Path(name), options.images or 33000, [int(n) for n in options.tasks.split(",")])


if __name__ == "__main__":
    main()
