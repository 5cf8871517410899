"""Thousands of broken inputs, seeded: command lines, options, labels, images, caches, runs, bundles, weights.

Whole commands, and between them many more cases of the readers alone. Every case must end with exit code 0, or with 2
and one line (a reader: with an error for users); none may take a minute or run what a file names. Numbers are not taken
on trust either: what a run says of its images is what the untouched run says of them, its labels are those that another
reader finds in the file, and its agreement is what SciPy makes of its scores.

  python scripts/fuzz.py --minutes 10 --seed 0 [--only records,bundles]
"""

import argparse
import contextlib
import csv
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

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny

from magiqa.backbones.checkpoint import read_checkpoint
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import load_weights
from magiqa.cli.main import COMMANDS, main
from magiqa.config.objects import check_config
from magiqa.datasets.folder import Folder
from magiqa.datasets.matlab import read_mat
from magiqa.errors import UserError
from magiqa.features.bundle import open_bundle
from magiqa.features.shard import read_features, read_text_shard, verify_features, verify_shard
from magiqa.images.decode import Limits, open_image, read_image
from magiqa.images.views import Views, cut
from magiqa.package import conf_dir
from magiqa.report.methods import measurements
from magiqa.runs.external_scores import Metric, external_scores
from magiqa.runs.read import read, read_record, read_run

JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 10**30, 1.5, 1e308, "", " ", "x", "../x", "/etc/passwd", "~", "~x/y", "${oc.env:HOME}",
    "nan", "inf", "-inf", "null", "\x1b[2J", "\u202e", "é" * 90, "x" * 5000, [], [1], ["a", "b"], [[]], {}, {"a": 1},
    {"_target_": "os.system", "_args_": ["touch hacked"]}, [{"_target_": "io.open"}], "=1+1", "a\0b", "1" * 400,
    10**400, "\ud800", "; touch hacked", "$(touch hacked)", "a\ntouch hacked", "<script>", "$x_1$",
    {"a": {"b": [1, {}]}},
]  # fmt: skip

WORDS = [
    "views", "views.stride", "views.kinds", "views.window", "magnitude", "magnitude.lam", "fusion",
    "fusion.alpha", "prompts", "prompts.pairs", "dataset", "dataset.every", "dataset.split",
    "dataset.mos_column", "backbone", "seed", "equivalence", "figures", "precision", "engine", "batch_size",
    "workers", "part", "pooling", "fit", "on_error", "out", "cache_dir", "bundle",
    "ablation", "experiment", "max_pixels", "nonsense", "hydra.run.dir", "score", "dataset.root",
    "dataset.annotation", "launcher", "roots.koniq", "dataset.outside_root", "views.small", "thumbnails",
]  # fmt: skip
VALUES = [
    "", "false", "true", "1", "-1", "64", "1e9", "abc", "[whole]", "[", "]", "{", "'", "\"", "a=b", "null",
    "~", "~x", "${x}", "${oc.env:HOME}", "../..", "/dev/null", "/", "nan", "x" * 300, "[1,2", "1,2", "\\",
    "=", "@", "é", "0x10", "choice(1,2)", "range(1,3)", "glob(*)", "maclip", "rn50", "folder",
    "\x1b]0;x\x07", "a b", "!!python/object:os.system",
]  # fmt: skip


YAML = [
    "a: &a [x]\nb: *a\n", "a: &a [*a]\n", "a: &a [x, x]\n" + "".join(f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]\n"
    for p, c in zip("abcdefgh", "bcdefghi", strict=True)), "[" * 2000, "x: " * 500,
    "_target_: os.system\n_args_: [touch hacked]\n",
    "_target_: builtins.exec\n", "x: ${oc.env:HOME}\n", "defaults:\n  - ../../hydra/launcher: joblib\n",
    "!!python/object/apply:os.system [touch hacked]\n", "pairs: 3\n", "pairs: [[a]]\n", "\ud800", "\0", "---\n---\n",
    "hydra:\n  run:\n    dir: hacked\n", "# @package _global_\nout: hacked\n", "? [a]\n: b\n", "1: 2\n", "null: 3\n",
]  # fmt: skip
OPTIONS = {"prompts": "maclip", "fusion": "adaptive", "views": "maclip", "magnitude": "boxcox"}
RESULTS = ("run", "run", "ablation", "experiment")
FORMATS = ("png", "jpg", "bmp", "tif", "webp", "gif", "ppm", "jp2")
WEIGHTS = ("plain.pt", "old.pt", "w.safetensors", "script.pt")


class Case:
    """A folder of its own, and the seeded dice."""

    def __init__(self, base: Path, folder: Path, dice: random.Random) -> None:
        self.base, self.folder, self.dice, self.result = base, folder, dice, "run"

    def changed_labels(self) -> Path:
        """A CSV of ratings with changed bytes, cells or names."""
        file, text = self.folder / "labels.csv", (self.base / "set" / "labels.csv").read_bytes()
        if self.dice.random() < 0.5:
            file.write_bytes(self.broken(text))
        else:
            rows = [row.split(",") for row in text.decode().splitlines()]
            for _ in range(self.dice.randint(1, 3)):
                row = self.dice.choice(rows)
                row[self.dice.randrange(len(row))] = str(self.dice.choice(JUNK))
            file.write_text("\n".join(",".join(row) for row in rows) + "\n", errors="surrogatepass")
        return file

    def changed_record(self) -> Path:
        """A result whose record has changed, missing and foreign keys; most often a run."""
        self.result = self.dice.choice(RESULTS)
        run = Path(shutil.copytree(self.base / self.result, self.folder / "run"))
        record = json.loads((run / "record.json").read_text())
        for _ in range(self.dice.randint(1, 2)):
            self.change(record)
        relisted(run, record)
        return run

    def changed_table(self) -> Path:
        """A result whose table has changed cells or bytes, listed as if it had been written so."""
        self.result = self.dice.choice(RESULTS)
        run = Path(shutil.copytree(self.base / self.result, self.folder / "run"))
        file = run / self.dice.choice(sorted(file.name for file in run.glob("*.csv")))
        if self.dice.random() < 0.3:
            file.write_bytes(self.broken(file.read_bytes()))
        else:
            table = pd.read_csv(file, dtype=object)
            for _ in range(self.dice.randint(1, 3)):
                row, column = self.dice.randrange(len(table)), self.dice.choice(list(table.columns))
                table.loc[row, column] = str(self.dice.choice(JUNK))
            if self.dice.random() < 0.3:
                table = table.drop(columns=self.dice.choice(list(table.columns)))
            table.to_csv(file, index=False, errors="surrogatepass")
        relisted(run, json.loads((run / "record.json").read_text()))
        return run

    def changed_bundle(self) -> Path:
        """A bundle whose header is changed and whose checksum fits, or whose bytes are changed."""
        source, file = self.base / "bundle.safetensors", self.folder / "b.safetensors"
        if self.dice.random() < 0.2:
            file.write_bytes(self.broken(source.read_bytes()))
            return file
        return Path(tiny.altered(source, self.folder / "b", lambda arrays, meta: self.change(meta)))

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
    out = tiny.overrides(case.base, f"out={case.folder / 'out'}", *more)
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


def options(case: Case) -> list[str]:
    """An option of one's own, of junk, which the command names; or of nobody's, which it does not."""
    group = case.dice.choice(["prompts", "fusion", "views", "magnitude"])
    folder = case.folder / "conf" / group
    folder.mkdir(parents=True)
    text = (conf_dir() / group / f"{OPTIONS[group]}.yaml").read_bytes()
    if case.dice.random() < 0.5:
        text = case.broken(text)
    else:
        text += str(case.dice.choice(YAML)).encode("utf-8", "surrogatepass")
    (folder / "mine.yaml").write_bytes(text)
    return ["evaluate", *overrides(case), *([f"{group}=mine"] if case.dice.random() < 0.8 else [])]


def labels(case: Case) -> list[str]:
    """Changed labels."""
    shutil.copytree(case.base / "set", case.folder / "set")
    case.changed_labels().replace(case.folder / "set" / "labels.csv")
    return [
        case.dice.choice(["evaluate", "evaluate", "check"]),
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
        if isinstance(files[name], dict) and name.endswith(".csv") and (run / name).is_file():
            files[name]["sha256"] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    (run / "record.json").write_text(json.dumps(record))


def reading(case: Case) -> list[str]:
    """A command that reads a run's folder."""
    run, out = str(case.folder / "run"), f"out={case.folder / 'out'}"
    page = [case.dice.choice(["report", "report", "paper"]), run, out]
    if case.result != "run":
        return page
    compare = ["compare", run, out]
    return case.dice.choice(
        [
            page,
            page,
            compare,
            compare,
            ["compare", str(case.base / "run"), run, out],
            [
                "pack",
                run,
                f"out={case.folder / 'b.safetensors'}",
                f"cache_dir={case.base / 'cache'}",
                tiny.named(case.base),
            ],
            [
                "reconcile",
                run,
                str(case.base / "run"),
                out,
                f"cache_dir={case.base / 'cache'}",
                tiny.named(case.base),
            ],
        ]
    )


def records(case: Case) -> list[str]:
    """A changed record."""
    case.changed_record()
    return reading(case)


def tables(case: Case) -> list[str]:
    """A changed table."""
    case.changed_table()
    return reading(case)


def bundles(case: Case) -> list[str]:
    """A changed bundle."""
    file, out = case.changed_bundle(), f"out={case.folder / 'out'}"
    return case.dice.choice(
        [
            ["evaluate", f"bundle={file}", out, "figures=false"],
            ["ablate", "ablation=lambda", f"bundle={file}", out, "figures=false"],
            ["encode", f"bundle={file}"],
            ["verify", str(file), f"dataset.root={case.base / 'set'}"],
        ]
    )


KINDS: dict[str, Callable[[Case], list[str]]] = {
    f.__name__: f for f in (command_lines, options, labels, images, shards, records, tables, bundles)
}


def read_labels(case: Case) -> None:
    """Changed labels: what is read is what Python's own reader finds there."""
    file = case.changed_labels()
    found = Folder(str(case.base / "set"), annotation=str(file), outside_root=case.dice.random() < 0.2).load()
    same_labels(file, found.table)


def read_containers(case: Case) -> None:
    """A changed list of ratings in a workbook, JSON, Parquet or MATLAB file."""
    table = pd.read_csv(case.base / "set" / "labels.csv")
    kind = case.dice.choice(["xlsx", "json", "jsonl", "parquet", "mat"])
    file = case.folder / f"labels.{kind}"
    if kind == "xlsx":
        table.to_excel(file, index=False)
    elif kind == "parquet":
        table.to_parquet(file)
    elif kind == "mat":
        savemat(file, {"mos": table["mos"].to_numpy(), "names": table["image"].to_numpy(object)})
    else:
        table.to_json(file, orient="records", lines=kind == "jsonl")
    file.write_bytes(case.broken(file.read_bytes()))
    if kind == "mat":
        read_mat(file, "mos", "names")
    else:
        Folder(str(case.base / "set"), annotation=str(file)).load()


def read_images(case: Case) -> None:
    """A changed file of each format: pixels of the size that its header says, or none."""
    name = case.dice.choice(FORMATS)
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    file = case.folder / f"x.{name}"
    Image.fromarray(pixels).save(file)
    file.write_bytes(case.broken(file.read_bytes()))
    limits = Limits(10_000_000, 1_000_000)
    image = open_image(read_image(file), "x", limits)
    for block in cut(image, Views(window=64, stride=32, small="upscale"), limits=limits):
        assert np.isfinite(block).all() and block.shape[1:] == (3, 64, 64)


def read_shards(case: Case) -> None:
    """A changed shard: refused, or as it was."""
    there = case.dice.choice(sorted((case.base / "cache").rglob("*.safetensors")))
    file = case.folder / "s.safetensors"
    file.write_bytes(case.broken(there.read_bytes()))
    if "text" in there.parts:
        verify_shard(file)
        assert np.array_equal(read_text_shard(file)[0], read_text_shard(there)[0])
        return
    read_features(file)
    found, was = verify_features(file), verify_features(there)
    assert found.images == was.images and np.array_equal(found.features, was.features)


def read_runs(case: Case) -> None:
    """A changed run, by every reader of runs."""
    run = case.changed_record() if case.dice.random() < 0.5 else case.changed_table()
    if case.dice.random() < 0.5:
        read_run(run)
    runs, _ = read([run])
    if runs:
        measurements(runs)
        assert runs[0].scores[runs[0].label].dtype.kind in "fiu"
    read_record(run)


def read_bundles(case: Case) -> None:
    """A changed bundle's header, to the config that would be instantiated."""
    file = case.changed_bundle()
    header = open_bundle(file).header
    check_config(header.config, header.choices, "b")
    assert len(header.frame()) == len(header.images)
    json.dumps(header.record.plain(), allow_nan=False).encode()


def read_scores(case: Case) -> None:
    """Another program's changed scores."""
    names = [f"{i:02d}.png" for i in range(tiny.N)]
    file = case.folder / "s.csv"
    text = "image,score\n" + "".join(f"{n},{k / 7}\n" for k, n in enumerate(names))
    file.write_bytes(case.broken(text.encode()))
    assert np.isfinite(external_scores(Metric(file), names)[0]).all()


def read_weights(case: Case) -> None:
    """A changed checkpoint, of each kind of file."""
    there = case.base / case.dice.choice(WEIGHTS)
    file = case.folder / there.name
    data = there.read_bytes()
    edge = case.dice.choice([0, max(0, len(data) - 2000)])  # where a header or a directory lies
    file.write_bytes(data[:edge] + case.broken(data[edge : edge + 2000]) + data[edge + 2000 :])
    state = read_checkpoint(file).tensors
    assert all(str(name) and value.shape is not None for name, value in state.items())


def read_models(case: Case) -> None:
    """A changed config of a model's folder, to the model that it makes."""
    config = json.loads((case.base / "clip" / "open_clip_config.json").read_text())
    case.change(config)
    (case.folder / "open_clip_config.json").write_text(json.dumps(config))
    load_weights(Backbone(f"local-dir:{case.folder}", untrained=0))


READERS: dict[str, Callable[[Case], None]] = {
    f.__name__: f
    for f in (
        *(read_labels, read_containers, read_images, read_shards, read_runs, read_bundles),
        *(read_scores, read_weights, read_models),
    )
}


def same_labels(file: Path, table: pd.DataFrame) -> None:
    """Labels are those that Python's own reader of CSV finds."""
    with open(file, newline="", encoding="utf-8-sig") as opened:
        rows = [{str(k).strip(): v for k, v in row.items()} for row in csv.DictReader(opened)]
    if not rows or not {"image", "mos"} <= rows[0].keys():
        return  # read as a list without a header
    theirs = [(row["image"].strip(), float(row["mos"])) for row in rows]  # blanks around a value do not count
    ours = list(zip(table["image"], table["mos"], strict=True))
    assert set(ours) <= set(theirs), "other labels, without a word"


def prepared(base: Path) -> pd.DataFrame:
    """A set, a cache, a run, a bundle and weights; the run's scores by image."""
    import torch
    from safetensors.torch import save_file

    tiny.make(base)
    run, bundle = base / "run", base / "bundle.safetensors"
    commands = [
        ["evaluate", *tiny.overrides(base, "views_file=true", f"out={run}")],
        ["pack", str(run), f"out={bundle}", f"cache_dir={base / 'cache'}", tiny.named(base)],
        ["ablate", *tiny.overrides(base, "ablation=fusion", f"out={base / 'ablation'}")],
        ["experiment", *tiny.overrides(base, "experiment=bias", f"out={base / 'experiment'}")],
    ]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for command in commands:
            if main(command):
                raise SystemExit(f"fuzz: {command[0]} fails on untouched files")
    state = {f"layer{i}.weight": torch.arange(float(8 * i)).reshape(2, -1) for i in range(1, 9)}
    torch.save(state, base / "plain.pt")
    torch.save(state, base / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state, base / "w.safetensors")
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), base / "script.pt")
    return pd.read_csv(base / "run" / "scores.csv", dtype={"image": str}).set_index("image")


def wrong_numbers(kind: str, folder: Path, scores: pd.DataFrame) -> None:
    """Check what a run or comparison wrote.

    Raises:
        AssertionError: it is not what the untouched run says, or not what SciPy makes of its scores.
    """
    out = folder / "out"
    if (out / "scores.csv").is_file():
        found = pd.read_csv(out / "scores.csv", dtype={"image": str})
        label = "mos" if "mos" in found else found.columns[1]
        table = pd.read_csv(out / "agreement.csv")
        for score in ("q_sim", "q_mag", "q"):
            said = table[(table["score"] == score) & (table["statistic"] == "srcc")]["value"].iloc[0]
            assert abs(said - spearmanr(found[score], found[label])[0]) < 1e-9, (
                "an agreement that SciPy does not find"
            )
        assert len(found) == table["n"].iloc[0], "an n that is not that of the scores"
        if kind in ("labels", "images", "shards"):
            same = found[found["image"].isin(scores.index)]
            same = same[(same["bytes"] == scores.loc[same["image"], "bytes"].to_numpy())]
            was = scores.loc[same["image"]]
            # an image whose bytes were changed is another image: its sha256, not its scores, is compared
            unlike = np.abs(
                same[["q_sim", "q_mag", "q"]].to_numpy() - was[["q_sim", "q_mag", "q"]].to_numpy()
            ).max(1)
            assert (unlike > 1e-5).sum() <= (kind == "images"), "other scores, without a word"
        if kind == "labels" and (folder / "set" / "labels.csv").is_file():
            same_labels(folder / "set" / "labels.csv", found)
    if (out / "comparison.csv").is_file() and (folder / "run" / "scores.csv").is_file():
        table = pd.read_csv(out / "comparison.csv")
        assert (table["p"].isna() | table["p"].between(0, 1)).all(), "no p"
        theirs = pd.read_csv(folder / "run" / "scores.csv")
        for name, said in table[table["statistic"] == "srcc"].set_index("a")["value_a"].items():
            score = str(name).split(" (")[0]
            if score in theirs and not np.isnan(said):
                label = "mos" if "mos" in theirs else theirs.columns[1]
                assert abs(said - spearmanr(theirs[score], theirs[label])[0]) < 1e-9, "not what SciPy finds"


def problem_of(kind: str, args: list[str], folder: Path, scores: pd.DataFrame) -> str | None:
    """Run a case; what is wrong with how it ended."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(args)
        said = [line for line in err.getvalue().splitlines() if line.startswith("magiqa:")]
        if code not in (0, 2):
            return f"exit code {code}"
        if code == 2 and not said and not out.getvalue() and not err.getvalue():
            return "exit code 2 without a word"
        if len(said) > 1 or "Traceback" in err.getvalue() or "\x1b" in out.getvalue():
            return f"more than one line, or raw escapes: {err.getvalue()[:500]}"
        if code == 0:
            wrong_numbers(kind, folder, scores)
    except BaseException:  # whatever it is, it is what this script looks for
        return traceback.format_exc(limit=-3)
    return None


def reader_problem(kind: str, case: Case) -> str | None:
    """Run a reader alone; what is wrong with how it ended."""
    try:
        READERS[kind](case)
    except UserError as error:
        return f"more than one line: {error}" if "\n" in str(error) else None
    except BaseException:
        return traceback.format_exc(limit=-3)
    return None


# a command, then readers: those take milliseconds
ORDER = [kind for command in KINDS for kind in (command, *(list(READERS) * 3))]


def late(number: int, frame: object) -> None:
    """Stop a case that takes longer than a minute."""
    raise TimeoutError("a minute")


def main_(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="kinds of cases, separated by commas")
    parser.add_argument("--case", type=int, help="run this one case alone, and show what it says")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGALRM, late)
    most = resource.getrlimit(resource.RLIMIT_AS)[1]  # -1: no limit
    limit = min(16 << 30, most) if most > 0 else 16 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))  # a bomb is an error, not the machine's end
    kinds = options.only.split(",") if options.only else ORDER
    counts, failed = Counter(), 0
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary) / "base"
        scores = prepared(base)
        number, end = options.case or 0, time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:
            dice, kind = random.Random(f"{options.seed} {number}"), kinds[number % len(kinds)]
            folder = Path(temporary) / f"case{number}"
            folder.mkdir()
            case, args = Case(base, folder, dice), []
            signal.alarm(60)
            with contextlib.chdir(folder):
                if kind in KINDS:
                    args = KINDS[kind](case)
                if options.case is not None:
                    print(args)
                    return main(args) if args else print(reader_problem(kind, case)) or 0
                problem = problem_of(kind, args, folder, scores) if args else reader_problem(kind, case)
                if (folder / "hacked").exists():
                    problem = "a file's code was run"
            signal.alarm(0)
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
