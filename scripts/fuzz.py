"""Thousands of broken inputs, seeded: command lines, labels, images, shards, records, tables and bundles.

Every case must end with exit code 0, or with 2 and one line; none may take a minute, run what a file names, or, where
the input is a cache, give other scores than the untouched one does.

  python scripts/fuzz.py --minutes 10 --seed 0 [--only records,bundles]
"""

import argparse
import contextlib
import hashlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny
from bundles import altered

from magiqa.cli.main import COMMANDS, main

JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 10**30, 1.5, 1e308, "", " ", "x", "../x", "/etc/passwd", "~", "~x/y", "${oc.env:HOME}",
    "nan", "inf", "-inf", "null", "\x1b[2J", "\u202e", "é" * 90, "x" * 5000, [], [1], ["a", "b"], [[]], {}, {"a": 1},
    {"_target_": "os.system", "_args_": ["touch hacked"]}, [{"_target_": "io.open"}], "=1+1", "a\0b", "1" * 400,
]  # fmt: skip

WORDS = [
    "views", "views.stride", "views.kinds", "views.window", "magnitude", "magnitude.lam", "fusion",
    "fusion.alpha", "prompts", "prompts.pairs", "dataset", "dataset.every", "dataset.split",
    "dataset.mos_column", "backbone", "seed", "resamples", "figures", "precision", "engine", "batch_size",
    "workers", "part", "pooling", "fit", "trust", "on_error", "out", "cache_dir", "bundle",
    "ablation", "experiment", "max_pixels", "nonsense", "hydra.run.dir", "score", "dataset.root",
    "dataset.annotation", "launcher", "roots.koniq", "dataset.outside_root", "views.small", "thumbnails",
]  # fmt: skip
VALUES = [
    "", "false", "true", "1", "-1", "64", "1e9", "abc", "[whole]", "[", "]", "{", "'", "\"", "a=b", "null",
    "~", "~x", "${x}", "${oc.env:HOME}", "../..", "/dev/null", "/", "nan", "x" * 300, "[1,2", "1,2", "\\",
    "=", "@", "é", "0x10", "choice(1,2)", "range(1,3)", "glob(*)", "maclip", "rn50", "folder",
    "\x1b]0;x\x07", "a b", "!!python/object:os.system",
]  # fmt: skip


class Case:
    """A folder of its own, and the seeded dice."""

    def __init__(self, base: Path, folder: Path, dice: random.Random) -> None:
        self.base, self.folder, self.dice = base, folder, dice

    def broken(self, data: bytes) -> bytes:
        """Bytes with a few changes."""
        for _ in range(self.dice.randint(1, 4)):
            at = self.dice.randrange(len(data) + 1)
            some = bytes(self.dice.choices(range(256), k=self.dice.choice([1, 1, 2, 8])))
            data = self.dice.choice(
                [
                    data[:at],
                    data[:at] + some + data[at:],
                    data[:at] + some + data[at + len(some) :],
                    data[at:],
                    data * 2,
                ]
            )
        return data

    def change(self, node: Any) -> None:
        """Change, drop or add one thing somewhere in JSON."""
        here = node
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                return
            key = self.dice.choice(keys)
            if isinstance(here[key], dict | list) and here[key] and self.dice.random() < 0.75:
                here = here[key]
                continue
            what = self.dice.random()
            if what < 0.3:
                del here[key]
            elif what < 0.9 or not isinstance(here, dict):
                here[key] = self.dice.choice(JUNK)
            else:
                here[str(self.dice.choice(JUNK))] = self.dice.choice(JUNK)
            return


def overrides(case: Case, *more: str) -> list[str]:
    """Of a run on the case's own copies where it has some, on the shared set otherwise."""
    out = tiny.overrides(case.base, "resamples=100", f"out={case.folder / 'out'}", *more)
    for key, name in (("dataset.root", "set"), ("cache_dir", "cache")):
        if (case.folder / name).is_dir():
            out = [o for o in out if not o.startswith(f"{key}=")] + [f"{key}={case.folder / name}"]
    return out


def command_lines(case: Case) -> list[str]:
    """A command with words and overrides of all kinds."""
    command = case.dice.choice([*COMMANDS, "--cfg", "-m", "", "evaluat"])
    more = []
    for _ in range(case.dice.randint(1, 4)):
        word = f"{case.dice.choice(WORDS)}={case.dice.choice(VALUES)}"
        more.append(
            case.dice.choice([word, word, "+" + word, "~" + word, "--" + word, case.dice.choice(VALUES)])
        )
    own = overrides(case) if case.dice.random() < 0.5 else [f"out={case.folder / 'out'}"]
    safe = [
        w for w in more if not w.lstrip("+~-").startswith(("out=", "launcher="))
    ]  # no cluster, no other folder
    return [w for w in [command, *own, *safe] if "\0" not in w]


def labels(case: Case) -> list[str]:
    """A CSV of ratings with changed bytes, cells or names."""
    shutil.copytree(case.base / "set", case.folder / "set")
    file = case.folder / "set" / "labels.csv"
    if case.dice.random() < 0.5:
        file.write_bytes(case.broken(file.read_bytes()))
    else:
        rows = [row.split(",") for row in file.read_text().splitlines()]
        for _ in range(case.dice.randint(1, 3)):
            row = case.dice.choice(rows)
            row[case.dice.randrange(len(row))] = str(case.dice.choice(JUNK))
        file.write_text("\n".join(",".join(row) for row in rows) + "\n", errors="surrogateescape")
    return [
        case.dice.choice(["evaluate", "check"]),
        *overrides(case, case.dice.choice(["on_error=skip", "on_error=raise"])),
    ]


def images(case: Case) -> list[str]:
    """An image with changed bytes."""
    shutil.copytree(case.base / "set", case.folder / "set")
    file = case.folder / "set" / f"{case.dice.randrange(tiny.N):02d}.png"
    file.write_bytes(case.broken(file.read_bytes()))
    return [
        case.dice.choice(["evaluate", "check"]),
        *overrides(case, case.dice.choice(["on_error=skip", "views.small=upscale"])),
    ]


def shards(case: Case) -> list[str]:
    """A shard of the cache, of features or text, with changed bytes."""
    shutil.copytree(case.base / "cache", case.folder / "cache")
    file = case.dice.choice(sorted((case.folder / "cache").rglob("*.safetensors")))
    file.write_bytes(case.broken(file.read_bytes()))
    return ["evaluate", *overrides(case)]


def relisted(run: Path, record: dict[str, Any]) -> None:
    """The record of a folder, listing what lies there now, as a stranger would write it."""
    files = record.get("files")
    for name in files if isinstance(files, dict) else []:
        if isinstance(files[name], dict) and name in ("scores.csv", "agreement.csv", "groups.csv"):
            files[name]["sha256"] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    (run / "record.json").write_text(json.dumps(record))


def reading(case: Case) -> list[str]:
    """A command that reads a run's folder."""
    run, out = str(case.folder / "run"), f"out={case.folder / 'out'}"
    return case.dice.choice(
        [
            ["report", run, out, "thumbnails=false"],
            ["compare", run, out, "resamples=100"],
            ["compare", str(case.base / "run"), run, out, "resamples=100"],
            ["pack", run, f"out={case.folder / 'b.safetensors'}", f"cache_dir={case.base / 'cache'}"],
        ]
    )


def records(case: Case) -> list[str]:
    """A run's record with changed, missing and foreign keys."""
    shutil.copytree(case.base / "run", case.folder / "run")
    record = json.loads((case.folder / "run" / "record.json").read_text())
    for _ in range(case.dice.randint(1, 2)):
        case.change(record)
    relisted(case.folder / "run", record)
    return reading(case)


def tables(case: Case) -> list[str]:
    """A run's table with changed cells or bytes, listed as if it had been written so."""
    shutil.copytree(case.base / "run", case.folder / "run")
    file = case.folder / "run" / case.dice.choice(["scores.csv", "agreement.csv", "groups.csv"])
    if case.dice.random() < 0.3:
        file.write_bytes(case.broken(file.read_bytes()))
    else:
        table = pd.read_csv(file, dtype=object)
        for _ in range(case.dice.randint(1, 3)):
            row, column = case.dice.randrange(len(table)), case.dice.choice(list(table.columns))
            table.loc[row, column] = str(case.dice.choice(JUNK))
        if case.dice.random() < 0.3:
            table = table.drop(columns=case.dice.choice(list(table.columns)))
        table.to_csv(file, index=False, errors="surrogateescape")
    relisted(case.folder / "run", json.loads((case.folder / "run" / "record.json").read_text()))
    return reading(case)


def bundles(case: Case) -> list[str]:
    """A bundle whose header is changed and whose checksum fits, or whose bytes are changed."""
    source, file = case.base / "bundle.safetensors", case.folder / "b.safetensors"
    if case.dice.random() < 0.2:
        file.write_bytes(case.broken(source.read_bytes()))
    else:
        file = altered(source, case.folder / "b", lambda arrays, meta: case.change(meta))
    out = f"out={case.folder / 'out'}"
    return case.dice.choice(
        [
            ["evaluate", f"bundle={file}", out, "figures=false", "resamples=100"],
            ["ablate", "ablation=lambda", f"bundle={file}", out, "figures=false", "resamples=100"],
            ["report", f"bundle={file}", out, "resamples=100", "thumbnails=false"],
            ["verify", str(file), f"dataset.root={case.base / 'set'}"],
        ]
    )


KINDS: dict[str, Callable[[Case], list[str]]] = {
    f.__name__: f for f in (command_lines, labels, images, shards, records, tables, bundles)
}


def prepared(base: Path) -> bytes:
    """A set, a cache, a run and a bundle; the run's scores."""
    tiny.make(base)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if main(["evaluate", *tiny.overrides(base, "resamples=100", f"out={base / 'run'}")]) or main(
            ["pack", str(base / "run"), f"out={base / 'bundle.safetensors'}", f"cache_dir={base / 'cache'}"]
        ):
            raise SystemExit("fuzz: the untouched run fails")
    return (base / "run" / "scores.csv").read_bytes()


def problem_of(kind: str, args: list[str], folder: Path, scores: bytes) -> str | None:
    """Run a case; what is wrong with how it ended."""
    out, err = io.StringIO(), io.StringIO()

    def late(number: int, frame: object) -> None:
        raise TimeoutError("a minute")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(args)
    except BaseException:  # whatever it is, it is what this script looks for
        return traceback.format_exc(limit=-3)
    finally:
        signal.alarm(0)
    said = [line for line in err.getvalue().splitlines() if line.startswith("magiqa:")]
    if code not in (0, 2):
        return f"exit code {code}"
    if code == 2 and not said and not out.getvalue() and not err.getvalue():
        return "exit code 2 without a word"
    if len(said) > 1 or "Traceback" in err.getvalue() or "\x1b" in out.getvalue():
        return f"more than one line, or raw escapes: {err.getvalue()[:500]}"
    made = folder / "out" / "scores.csv"
    if kind == "shards" and code == 0 and made.is_file() and made.read_bytes() != scores:
        return "other scores, without a word"
    return None


def main_(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--case", type=int, help="run this one case alone, and show what it says")
    options = parser.parse_args(argv)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))  # a bomb is an error, not the machine's end
    kinds = options.only.split(",")
    counts, failed = Counter(), 0
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary) / "base"
        scores = prepared(base)
        number, end = options.case or 0, time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:
            dice, kind = random.Random(f"{options.seed} {number}"), kinds[number % len(kinds)]
            folder = Path(temporary) / f"case{number}"
            folder.mkdir()
            with contextlib.chdir(folder):
                args = KINDS[kind](Case(base, folder, dice))
                if options.case is not None:
                    print(args)
                    return main(args)
                problem = problem_of(kind, args, folder, scores)
                if (folder / "hacked").exists():
                    problem = "a file's code was run"
            counts[kind] += 1
            if problem:
                failed += 1
                print(f"--case {number} ({kind}): {' '.join(map(ascii, args))}\n{problem}\n", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            number += 1
    print(f"{sum(counts.values())} cases ({', '.join(f'{k} {n}' for k, n in counts.items())}), {failed} failed, "
          f"seed {options.seed}")  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main_(sys.argv[1:]))
