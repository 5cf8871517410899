"""Writers killed at random moments: no bad shard, no lost view where they were asked to stop, the same scores.

Three writers fill one cache. In each round all get SIGKILL, or SIGTERM, at a random moment; then each shard is checked.
Of SIGTERM nothing that was encoded may be lost. At the end a run on that cache must give the scores of one that was
never stopped, byte for byte. With --disk the cache lies on a disk of that many kilobytes (a tmpfs; needs root), too few
for all features: writers that find it full end with one line, and lose only what has no room.

  python scripts/kill_test.py --rounds 20 --seed 0 [--disk 200]
"""

import argparse
import contextlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import open_clip  # noqa: F401 (writers are forked: what they would import is here)
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny

import magiqa.cli.encode
import magiqa.engines.build
import magiqa.engines.pytorch  # noqa: F401
import magiqa.features.source as images
from magiqa.cli.main import main
from magiqa.config.compose import Configs
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
        load, add = images.load_file, pipeline._Shards.add

        def slow(*args: object, **more: object) -> object:
            time.sleep(0.06)
            return load(*args, **more)

        def said(shards: object, image: object) -> None:
            add(shards, image)
            os.write(1, f"encoded {image.sha256} {image.cut}\n".encode())

        images.load_file, pipeline._Shards.add = slow, said
        code = main(argv)
        sys.stdout.flush()
        os._exit(code)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


def prepared_for_writers(all_overrides: Iterable[list[str]]) -> None:
    """Compose these overrides and build their model here, once for all writers: that is most of their start."""
    torch.set_num_threads(1)  # no threads of torch's own in the parent: they would not be in its children
    job, composed = Configs.job, {tuple(o): Configs().job(o) for o in all_overrides}
    Configs.job = lambda self, overrides: composed.get(tuple(overrides)) or job(self, overrides)  # type: ignore
    spec = next(iter(composed.values())).method.backbone
    weights = images.load_weights(spec)
    model = images.build_model(spec, weights)
    images.load_weights, images.build_model = lambda _: weights, lambda *_: model


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


def main_(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="of SIGKILL, and as many of SIGTERM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disk", type=int, help="kilobytes of the disk that the cache lies on")
    options = parser.parse_args(argv)
    dice, failed, sums = random.Random(options.seed), [], Counter()
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        base = tiny.make(Path(temporary))
        rows = ["image,mos,gen,sd"]
        rng = np.random.default_rng(0)
        for i in range(IMAGES):
            Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(base / "set" / f"{i:03d}.png")
            rows.append(f"{i:03d}.png,{i % 50},g{i % 3},0.5")
        (base / "set" / "labels.csv").write_text("\n".join(rows) + "\n")
        cache = base / "disk" / "cache"
        (base / "disk").mkdir()
        if options.disk:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={options.disk}k", "tmpfs", base / "disk"], check=True
            )
            stack.callback(subprocess.run, ["umount", base / "disk"], check=True)
        logs = [base / f"log{w}" for w in range(WRITERS)]
        args = [
            ["encode", *tiny.overrides(base, f"part={w + 1}/{WRITERS}", f"cache_dir={cache}")]
            for w in range(WRITERS)
        ]
        prepared_for_writers(a[1:] for a in args)
        gone: set[str] = set()  # images whose views were encoded, and lost
        for number in range(2 * options.rounds):
            asked = (signal.SIGTERM, signal.SIGKILL)[number % 2]
            before, _ = held(cache)
            codes = killed_at_random(logs, args, asked, dice.uniform(0, 2))
            bad = corrupt_shards(cache)
            after, twice = held(cache)
            encoded: dict[str, int] = {}
            lost = again = 0
            for log, code in zip(logs, codes, strict=True):
                text = log.read_text()
                own = {image: int(count) for image, count in ENCODED.findall(text)}
                encoded |= own
                again += sum(count for image, count in own.items() if image in gone)
                missing = {image: count for image, count in own.items() if image not in after}
                gone = gone - set(own) | set(missing)
                lost += sum(missing.values())
                said = [line for line in text.splitlines() if line.startswith("magiqa:")]
                if code == 2 and not (
                    options.disk and len(said) == 1 and "No space left on device" in said[0]
                ):
                    failed.append(f"round {number + 1}: exit 2: {text[-600:]}")
                if "Traceback" in text or code not in (0, 2, 143, -signal.SIGKILL):
                    failed.append(f"round {number + 1}: exit {code}: {text[-600:]}")
                if missing and code in (0, 143):
                    failed.append(f"round {number + 1}: {sum(missing.values())} views lost at SIGTERM")
                kind = "disk" if code == 2 else "SIGTERM" if code in (0, 143) else "SIGKILL"
                sums[f"lost to {kind}"] += sum(missing.values())
            if set(after) - set(encoded) - set(before) or set(before) - set(after) or bad:
                failed.append(f"round {number + 1}: {len(bad)} bad shards, or images from nowhere")
            sums += Counter(encoded=sum(encoded.values()), again=again, twice=twice, bad=len(bad))
            sums[asked.name] += 1
            sums["writers on a full disk"] += codes.count(2)
            kept = sum(after.values()) - sum(before.values())
            print(
                f"{number + 1}: {asked.name}, exit {codes}; {sum(encoded.values())} views encoded, {again} anew, "
                f"{kept} kept, {lost} lost, {twice} there twice, {len(bad)} bad shards",
                flush=True,
            )
            if len(after) == IMAGES or 2 in codes:  # begin anew, so that each round has work
                for shard in sorted(cache.glob("features/*/*.safetensors")):
                    if dice.random() < 0.8:
                        shard.unlink()
        left = [p.name for p in cache.rglob("*.tmp")]
        if options.disk:
            subprocess.run(["mount", "-o", "remount,size=64m", base / "disk"], check=True)
        scores = []
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for name, where in (("stopped", cache), ("never", base / "fresh")):
                if main(["evaluate", *tiny.overrides(base, f"cache_dir={where}", f"out={base / name}")]):
                    failed.append(f"the run {name} fails, or was stopped itself")
                    continue
                scores.append((base / name / "scores.csv").read_bytes())
        if len(set(scores)) != 1 or len(scores) != 2:
            failed.append("other scores than a run that was never stopped")
    disk = (
        f" on a disk of {options.disk} kB (found full by {sums['writers on a full disk']})"
        if options.disk
        else ""
    )
    print(
        f"{sums['SIGKILL']} SIGKILLs and {sums['SIGTERM']} SIGTERMs of {WRITERS} writers{disk}: {sums['bad']} bad "
        f"shards, {len(left)} files half written; of {sums['encoded']} views encoded {sums['again']} anew and "
        f"{sums['twice']} there twice; lost to SIGTERM {sums['lost to SIGTERM']}, to SIGKILL "
        f"{sums['lost to SIGKILL']}, to the full disk {sums['lost to disk']}; scores "
        + ("equal, byte for byte" if not failed else "and all else: see below")
    )
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main_(sys.argv[1:]))
