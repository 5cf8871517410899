"""Writers killed at random moments: no bad shard, no lost view where they were asked to stop, the same scores.

Three writers fill one cache. In each round all get SIGKILL, or SIGTERM, at a random moment; then each shard is checked.
Of SIGTERM nothing that was encoded may be lost. At the end a run on that cache must give the scores of one that was
never stopped, byte for byte. With --disk, files may have that many bytes at most in half of the rounds: a full disk.

  python scripts/kill.py --rounds 20 --seed 0 [--disk 300000]
"""

import argparse
import contextlib
import io
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny

from magiqa.cli.main import main
from magiqa.features.shard import read_features
from magiqa.features.upkeep import corrupt_shards
from magiqa.images.controls import CONTROLS

IMAGES, WRITERS = 400, 3


def writer(argv: list[str]) -> int:
    """A command whose images take their time, and which says of each image that it is encoded."""
    import magiqa.features.from_images as images
    import magiqa.features.pipeline as pipeline

    pipeline.SHARD_SECONDS = (1.0, 4.0)
    load, add = images.load_file, pipeline._Shards.add

    def slow(*args: object, **more: object) -> object:
        time.sleep(0.05)
        return load(*args, **more)

    def said(shards: object, image: object) -> None:
        add(shards, image)
        print("encoded", image.sha256, image.cut, flush=True)

    images.load_file, pipeline._Shards.add = slow, said
    return main(argv)


def held(cache: Path) -> tuple[dict[str, int], int]:
    """Views by image in a cache, and how many are there twice."""
    views: dict[str, int] = {}
    twice = 0
    for shard in sorted(cache.glob("features/*/*.safetensors")):
        found = read_features(shard, len(CONTROLS))
        for image, count in zip(found.images, found.counts.tolist(), strict=True):
            twice += count if image in views else 0
            views[image] = count
    return views, twice


def main_(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="of SIGKILL, and as many of SIGTERM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disk", type=int, help="bytes that a file may have in every other round")
    options = parser.parse_args(argv)
    dice, failed, lost_to_kill = random.Random(options.seed), [], 0
    with tempfile.TemporaryDirectory() as temporary:
        base = tiny.make(Path(temporary))
        rows = ["image,mos,gen,sd"]
        rng = np.random.default_rng(0)
        for i in range(IMAGES):
            Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(base / "set" / f"{i:03d}.png")
            rows.append(f"{i:03d}.png,{i % 50},g{i % 3},0.5")
        (base / "set" / "labels.csv").write_text("\n".join(rows) + "\n")
        cache = base / "cache"
        for number in range(2 * options.rounds):
            asked = (signal.SIGTERM, signal.SIGKILL)[number % 2]
            before, _ = held(cache)
            full = options.disk and number % 4 >= 2

            def limit(bytes_: int | None = options.disk if full else None) -> None:
                if bytes_:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))

            args = [
                [
                    sys.executable,
                    __file__,
                    "--writer",
                    "encode",
                    *tiny.overrides(base, f"part={w + 1}/{WRITERS}"),
                ]
                for w in range(WRITERS)
            ]
            logs = [base / f"log{w}" for w in range(WRITERS)]
            with contextlib.ExitStack() as stack:
                files = [stack.enter_context(open(log, "w")) for log in logs]
                running = [
                    subprocess.Popen(a, stdout=f, stderr=subprocess.STDOUT, preexec_fn=limit)
                    for a, f in zip(args, files, strict=True)
                ]
                started = time.monotonic()
                while (
                    not all("encoded" in log.read_text() for log in logs) and time.monotonic() - started < 90
                ):
                    if all(p.poll() is not None for p in running):
                        break
                    time.sleep(0.1)
                time.sleep(dice.uniform(0, 4))
                for process in running:
                    process.send_signal(asked)
                codes = [process.wait(timeout=120) for process in running]
            said = "".join(log.read_text() for log in logs)  # between the strokes of progress bars
            encoded = {
                image: int(count) for image, count in re.findall(r"encoded ([0-9a-f]{64}) (\d+)", said)
            }
            bad = corrupt_shards(cache)
            after, twice = held(cache)
            missing = sum(count for image, count in encoded.items() if image not in after)
            kept = sum(after.values()) - sum(before.values())
            print(
                f"{number + 1}: {asked.name}{' on a full disk' if full else ''}, exit {codes}; {sum(encoded.values())} "
                f"views encoded, {kept} kept, {missing} lost, {twice} there twice, {len(bad)} bad shards",
                flush=True,
            )
            if bad or set(after) - set(encoded) - set(before):
                failed.append(f"round {number + 1}: bad shards")
            if asked == signal.SIGTERM and not full and (missing or set(codes) - {143, 0}):
                failed.append(f"round {number + 1}: {missing} views lost at SIGTERM, exit {codes}")
            if any("Traceback" in log.read_text() for log in logs):
                failed.append(
                    f"round {number + 1}: a traceback: " + "".join(log.read_text()[-600:] for log in logs)
                )
            lost_to_kill += missing if asked == signal.SIGKILL else 0
            if len(after) == IMAGES:  # begin anew, so that each round has work
                for shard in sorted(cache.glob("features/*/*.safetensors")):
                    if dice.random() < 0.8:
                        shard.unlink()
        scores = []
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for name, where in (("stopped", cache), ("never", base / "fresh")):
                if main(["evaluate", *tiny.overrides(base, f"cache_dir={where}", f"out={base / name}")]):
                    failed.append(f"the run {name} fails, or was stopped itself")
                    continue
                scores.append((base / name / "scores.csv").read_bytes())
        if len(set(scores)) > 1:
            failed.append("other scores than a run that was never stopped")
    equal = "equal, byte for byte" if len(scores) == 2 and len(set(scores)) == 1 else "not shown to be equal"
    print(
        f"{2 * options.rounds} rounds, {WRITERS} writers: {lost_to_kill} views lost to SIGKILL; scores {equal}"
    )
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(writer(sys.argv[2:]) if sys.argv[1:2] == ["--writer"] else main_(sys.argv[1:]))
