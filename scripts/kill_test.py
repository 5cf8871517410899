"""Writers killed at random moments: no bad shard, no lost view where they were asked to stop, the same scores.

Three writers fill one cache. In each round all get SIGKILL, or SIGTERM, at a random moment; then each shard is checked.
Of SIGTERM nothing that was encoded may be lost. At the end a run on that cache must give the scores of one that was
never stopped, byte for byte.

  python scripts/kill_test.py --rounds 20 --seed 0
"""

import argparse
import contextlib
import io
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import open_clip  # noqa: F401 (writers are forked: what they would import is here)
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny

import magiqa.cli.encode
import magiqa.engines.build
import magiqa.engines.pytorch  # noqa: F401
from magiqa.cli.main import main
from magiqa.features import pipeline
from magiqa.features.cache_upkeep import corrupt_shards
from magiqa.features.shard import read_features

IMAGES, WRITERS = 240, 3

ENCODED = re.compile(r"encoded ([0-9a-f]{64}) (\d+)")


def writer(argv: list[str], log: Path) -> int:
    """A process of its own whose images take their time, and which says of each that it is encoded; its id."""
    sys.stdout.flush()
    if child := os.fork():  # what takes long to import is there already
        return child
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        pipeline.SHARD_SECONDS = (0.2, 0.8)
        load, add = pipeline.load_file, pipeline._Shards.add

        def slow(*args: object, **more: object) -> object:
            time.sleep(0.06)
            return load(*args, **more)

        def said(shards: object, image: object) -> None:
            add(shards, image)
            os.write(1, f"encoded {image.sha256} {image.cut}\n".encode())

        pipeline.load_file, pipeline._Shards.add = slow, said
        code = main(argv)
        sys.stdout.flush()
        os._exit(code)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


def held(cache: Path) -> tuple[dict[str, int], int]:
    """Views by image in a cache, and how many are there twice."""
    views: dict[str, int] = {}
    twice = 0
    for shard in sorted(cache.glob("features/*/*.safetensors")):
        found = read_features(shard)
        for image, count in zip(found.images, found.counts.tolist(), strict=True):
            twice += count if image in views else 0
            views[image] = count
    return views, twice


def killed_at_random(
    logs: list[Path], args: list[list[str]], asked: signal.Signals, wait: float
) -> list[int]:
    """Start the writers, wait until all are encoding, kill them a while later; their exit codes."""
    for log in logs:
        log.write_text("")
    running = [writer(a, log) for a, log in zip(args, logs, strict=True)]
    until = time.monotonic() + 300
    ended: dict[int, int] = {}

    def look() -> None:
        for child in set(running) - set(ended):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                ended[child] = os.waitstatus_to_exitcode(status)

    while time.monotonic() < until and len(ended) < len(running):
        if all("encoded" in log.read_text() for log in logs):
            break
        look()
        time.sleep(0.02)
    time.sleep(wait)
    look()
    for child in set(running) - set(ended):
        os.kill(child, asked)
    while len(ended) < len(running):
        look()
        time.sleep(0.02)
    return [ended[child] for child in running]


class Tally:
    """Counts over all rounds, and what went wrong."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.failed: list[str] = []
        self.gone: set[str] = set()  # images whose views were encoded, and lost

    def add(
        self,
        number: int,
        asked: signal.Signals,
        codes: list[int],
        texts: list[str],
        before: set[str],
        cache: Path,
    ) -> set[str]:
        """Check and count a round; return the images that the cache holds after it."""
        views_of, twice = held(cache)
        after, bad = set(views_of), len(corrupt_shards(cache))
        encoded: dict[str, int] = {}
        lost = again = 0
        for text, code in zip(texts, codes, strict=True):
            own = {image: int(count) for image, count in ENCODED.findall(text)}
            encoded |= own
            again += sum(count for image, count in own.items() if image in self.gone)
            missing = {image: count for image, count in own.items() if image not in after}
            self.gone = self.gone - set(own) | set(missing)
            views = sum(missing.values())
            lost += views
            if "Traceback" in text or code not in (0, 143, -signal.SIGKILL):
                self.failed.append(f"round {number}: exit {code}: {text[-600:]}")
            if missing and code in (0, 143):
                self.failed.append(f"round {number}: {views} views lost at SIGTERM")
            self.sums[f"lost to {'SIGTERM' if code in (0, 143) else 'SIGKILL'}"] += views
        if after - set(encoded) - before or before - after or bad:
            self.failed.append(f"round {number}: {bad} bad shards, or images from nowhere")
        self.sums += Counter(encoded=sum(encoded.values()), again=again, twice=twice, bad=bad)
        self.sums[asked.name] += 1
        print(
            f"{number}: {asked.name}, exit {codes}; {sum(encoded.values())} views encoded, {again} anew, "
            f"{lost} lost, {twice} there twice, {bad} bad shards",
            flush=True,
        )
        return after


def prepared_set(base: Path) -> None:
    """Replace the images of the tiny set by so many that writers take a while."""
    rows, rng = ["image,mos,gen,sd"], np.random.default_rng(0)
    for i in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(base / "set" / f"{i:03d}.png")
        rows.append(f"{i:03d}.png,{i % 50},g{i % 3},0.5")
    (base / "set" / "labels.csv").write_text("\n".join(rows) + "\n")


def same_scores(base: Path, cache: Path) -> bool:
    """Tell whether a run on the writers' cache and one that was never stopped write the same scores."""
    scores = set()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for name, where in (("stopped", cache), ("never", base / "fresh")):
            if main(["evaluate", *tiny.overrides(base, f"cache_dir={where}", f"out={base / name}")]):
                return False
            scores.add((base / name / "scores.csv").read_bytes())
    return len(scores) == 1


def main_(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="of SIGKILL, and as many of SIGTERM")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    dice, tally = random.Random(options.seed), Tally()
    with tempfile.TemporaryDirectory() as temporary:
        base = tiny.make(Path(temporary))
        prepared_set(base)
        cache = base / "shared"
        logs = [base / f"log{w}" for w in range(WRITERS)]
        args = [
            ["encode", *tiny.overrides(base, f"part={w + 1}/{WRITERS}", f"cache_dir={cache}")]
            for w in range(WRITERS)
        ]
        for number in range(2 * options.rounds):
            asked = (signal.SIGTERM, signal.SIGKILL)[number % 2]
            before = set(held(cache)[0])
            codes = killed_at_random(logs, args, asked, dice.uniform(0, 2))
            after = tally.add(number + 1, asked, codes, [log.read_text() for log in logs], before, cache)
            if len(after) == IMAGES:  # begin anew, so that each round has work
                for shard in sorted(cache.glob("features/*/*.safetensors")):
                    if dice.random() < 0.8:
                        shard.unlink()
        left = len(list(cache.rglob("*.tmp")))
        if not same_scores(base, cache):
            tally.failed.append("other scores than a run that was never stopped, or none")
    sums, failed = tally.sums, tally.failed
    print(
        f"{sums['SIGKILL']} SIGKILLs and {sums['SIGTERM']} SIGTERMs of {WRITERS} writers: {sums['bad']} bad shards, "
        f"{left} files half written; of {sums['encoded']} views encoded {sums['again']} anew and {sums['twice']} there "
        f"twice; lost to SIGTERM {sums['lost to SIGTERM']}, to SIGKILL {sums['lost to SIGKILL']}"
    )
    print(*failed or ["scores equal, byte for byte"], sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main_(sys.argv[1:]))
