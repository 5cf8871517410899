"""Run every run, experiment and ablation on the data sets at hand, and report. Resumes; lists what is missing.

    python scripts/reproduce.py --root agiqa3k=DIR --root koniq=DIR [--out results/reproduction] [OVERRIDES]

Roots can also stand in a YAML file (``--roots FILE``: ``koniq: ~/koniq``), where a name is an option of the group
``dataset``. Overrides go to every job, e.g. ``backbone=rn50 engine=openvino``. What is done already is skipped:
stop it and start it again as you like.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa.config.compose import Configs
from magiqa.errors import UserError
from magiqa.package import conf_dir
from magiqa.runs.read import read
from magiqa.studies.ablate import ablate, write_transfer
from magiqa.studies.evaluate import evaluate
from magiqa.studies.experiments.run import run as experiment
from magiqa.studies.experiments.study import Lacking

# MA-CLIP's protocol of each set; the sample needs no root
SETS = (
    "sample",
    "agiqa3k",
    "koniq",
    "livec_practice",
    "spaq",
    "agiqa1k",
    "kadid10k",
    "tid2013",
    "csiq",
    "pipal",
)
RUNS = {
    "maclip": [],
    "clipiqa": ["prompts=clipiqa", "views=whole", "fusion=similarity"],
    "clipiqa_five_pairs": ["prompts=maclip", "views=whole", "fusion=similarity"],
    "magnitude": ["fusion=magnitude"],
}
STEPS = {
    **{f"run-{name}": ("run", overrides) for name, overrides in RUNS.items()},
    **{
        f"{kind}-{file.stem}": (kind, [f"{kind}={file.stem}"])
        for kind in ("experiment", "ablation")
        for file in sorted((conf_dir() / kind).glob("*.yaml"))
    },
}


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--root", action="append", default=[], metavar="SET=DIR")
    parser.add_argument("--roots", type=Path, metavar="FILE")
    parser.add_argument("--sets", help="only these, separated by commas")
    parser.add_argument(
        "--only", help="only these steps, separated by commas, e.g. run-maclip,ablation-lambda"
    )
    parser.add_argument("--without", default="", help="not these steps, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("results/reproduction"))
    parser.add_argument("--report", type=Path, metavar="DIR", help="where the report goes (OUT/report)")
    parser.add_argument(
        "--ratings", action="append", default=[], metavar="SET=N", help="ratings that a label averages"
    )
    parser.add_argument("--no-thumbnails", action="store_true", help="no images in the report")
    parser.add_argument("--no-report", action="store_true")
    return parser.parse_intermixed_args(argv)


def roots_of(options: argparse.Namespace) -> dict[str, str]:
    known = {f.stem for f in (conf_dir() / "dataset").glob("*.yaml")}
    roots: dict[str, str] = {}
    if options.roots:
        import yaml

        if not options.roots.is_file():
            raise UserError(f"--roots {options.roots}: no such file; write lines of `koniq: DIR`")
        roots |= {str(k): str(v) for k, v in (yaml.safe_load(options.roots.read_text()) or {}).items()}
    roots |= pairs_of("--root", options.root, "SET=DIR")
    unknown = sorted(set(roots) - known)
    if unknown:
        raise UserError(f"--root {unknown[0]}: no such data set option; there are {', '.join(sorted(known))}")
    return roots


def pairs_of(option: str, texts: list[str], form: str) -> dict[str, str]:
    """Return values by name from texts ``NAME=VALUE``."""
    out: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{option} {text}: write it as {form}")
        out[name] = value
    return out


def inapplicable(step: str, dataset: str, ratings: dict[str, str]) -> str | None:
    """Return the reason why a step is not for a data set."""
    if step == "experiment-align" and not dataset.startswith("agiqa3k"):
        return "only AGIQA-3K has labels of alignment"
    if step == "experiment-raters" and dataset not in ratings:
        return f"add --ratings {dataset}=N, how many ratings a label averages, where the set gives mos_std"
    return None


def page(dataset: str) -> str:
    """Return where to get a data set, from its reader."""
    job = Configs().job([f"dataset={dataset}", "dataset.root=nowhere"])
    return str(getattr(job.source.dataset, "page", "") or "its authors")


def done(folder: Path, overrides: list[str]) -> bool:
    """Return whether a step with the same overrides was finished in this folder."""
    try:
        recorded = json.loads((folder / "step.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(recorded == overrides) and (folder / "record.json").is_file()


def main(argv: list[str]) -> int:
    options = parse(argv)
    roots = roots_of(options)
    chosen = options.sets.split(",") if options.sets else list(dict.fromkeys([*SETS, *roots]))
    only = options.only.split(",") if options.only else list(STEPS)
    without = options.without.split(",") if options.without else []
    unknown = [s for s in [*only, *without] if s not in STEPS]
    if unknown:
        raise UserError(f"step {unknown[0]} is not known: there are {', '.join(STEPS)}")
    ratings = pairs_of("--ratings", options.ratings, "SET=N")
    for dataset, n in ratings.items():
        if not n.replace(".", "", 1).isdigit() or float(n) < 1:
            raise UserError(f"--ratings {dataset}={n}: N must be a number from 1")
    missing: list[str] = []
    left_out: list[str] = []
    failed: list[str] = []
    tables: dict[str, list[tuple[pd.DataFrame, dict[str, Any]]]] = {}
    ran: list[Path] = []
    for dataset in chosen:
        if dataset != "sample" and dataset not in roots:
            missing.append(f"{dataset}: no --root given; get it from {page(dataset)}")
            continue
        root = [f"dataset.root={roots[dataset]}"] if dataset in roots else []
        for name in only:
            why = "--without" if name in without else inapplicable(name, dataset, ratings)
            if why:
                left_out.append(f"{dataset} {name}: {why}")
                continue
            kind, more = STEPS[name]
            if name == "experiment-raters":
                more = [*more, f"experiment.ratings={ratings[dataset]}"]
            folder = options.out / dataset / name
            overrides = [f"dataset={dataset}", *root, *more, *options.overrides]
            start = time.time()
            try:
                if not done(folder, overrides):
                    # while a step runs, or if it is cut short, its folder is no other step's either
                    (folder / "step.json").unlink(missing_ok=True)
                    run_step(kind, [*overrides, f"out={folder}"])
                    (folder / "step.json").write_text(json.dumps(overrides))
                    print(f"{dataset} {name}: {time.time() - start:.0f} s", flush=True)
                else:
                    print(f"{dataset} {name}: done before", flush=True)
            except Lacking as error:
                left_out.append(f"{dataset} {name}: {error}")
                continue
            except (UserError, OSError) as error:
                failed.append(f"{dataset} {name}: {error}")
                print(failed[-1], file=sys.stderr, flush=True)
                continue
            ran.append(folder)
            if kind == "ablation":
                tables.setdefault(name, []).append(read_ablation(folder))
    for sets in tables.values():
        if len(sets) > 1 and len({tuple(table["variant"]) for table, _ in sets}) == 1:
            write_transfer(options.out, sets)
    if ran and not options.no_report:
        from magiqa.report.material import Asked
        from magiqa.report.report import report

        folder = options.report or options.out / "report"
        report(ran, folder, Asked(thumbnails=not options.no_thumbnails))
        print(f"{folder}/report.html")
    for title, lines in (("missing", missing), ("left out", left_out), ("failed", failed)):
        if lines:
            print(f"\n{title}:", *lines, sep="\n  ")
    return 2 if failed or not ran else 0


def read_ablation(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read an ablation's table and record."""
    _, sheets = read([folder])
    return sheets[0].table, sheets[0].record


def run_step(kind: str, overrides: list[str]) -> None:
    configs = Configs()
    job = configs.job(overrides)
    if kind == "run":
        evaluate(job)
    elif kind == "experiment":
        experiment(job, configs.composer(overrides, packaged=True))
    else:
        ablate(job, configs.composer(overrides))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        sys.exit(2)
