"""Run every run, experiment and ablation on the data sets at hand, and report. Resumes; lists what is missing.

    python scripts/reproduce.py --root agiqa3k=DIR --root koniq=DIR [--out results/reproduction] [OVERRIDES]

Overrides go to every job, e.g. ``backbone=rn50 engine=openvino``. What is done already is skipped:
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
from magiqa.datasets.base import sets as readers
from magiqa.errors import UserError
from magiqa.package import conf_dir
from magiqa.runs.read import read
from magiqa.studies.ablate import ablate, write_transfer
from magiqa.studies.evaluate import evaluate
from magiqa.studies.experiments.study import Lacking
from magiqa.studies.experiments.study import run as experiment

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
    roots = pairs_of("--root", options.root, "SET=DIR")
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


def done(folder: Path, overrides: list[str]) -> bool:
    """Return whether a step with the same overrides was finished in this folder."""
    try:
        recorded = json.loads((folder / "step.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(recorded == overrides) and (folder / "record.json").is_file()


class Outcomes:
    """Outcomes of the steps: folders that hold results, ablations by name, and what has none, with the reason."""

    def __init__(self) -> None:
        self.ran: list[Path] = []
        self.tables: dict[str, list[tuple[pd.DataFrame, dict[str, Any]]]] = {}
        self.without: dict[str, list[str]] = {"missing": [], "left out": [], "failed": []}

    def step(self, folder: Path, name: str, overrides: list[str]) -> None:
        """Run a step, or find it done."""
        where, start = f"{folder.parent.name} {name}", time.time()
        try:
            if done(folder, overrides):
                print(f"{where}: done before", flush=True)
            else:
                # while a step runs, or if it is cut short, its folder is no other step's either
                (folder / "step.json").unlink(missing_ok=True)
                run_step(STEPS[name][0], [*overrides, f"out={folder}"])
                (folder / "step.json").write_text(json.dumps(overrides))
                print(f"{where}: {time.time() - start:.0f} s", flush=True)
        except Lacking as error:
            hint = f" (--ratings {folder.parent.name}=N)" if name == "experiment-raters" else ""
            self.without["left out"].append(f"{where}: {error}{hint}")
            return
        except (UserError, OSError) as error:
            self.without["failed"].append(f"{where}: {error}")
            print(f"{where}: {error}", file=sys.stderr, flush=True)
            return
        self.ran.append(folder)
        if STEPS[name][0] == "ablation":
            _, (sheet,) = read([folder])
            self.tables.setdefault(name, []).append((sheet.table, sheet.record))

    def finish(self, out: Path, page: Path | None, thumbnails: bool) -> int:
        """Write what several sets give together, and the report; return the exit code."""
        for sets in self.tables.values():
            write_transfer(out, sets)
        if self.ran and page:
            from magiqa.report.material import Asked
            from magiqa.report.report import report

            report(self.ran, page, Asked(thumbnails=thumbnails))
            print(f"{page}/report.html")
        for title, lines in self.without.items():
            if lines:
                print(f"\n{title}:", *lines, sep="\n  ")
        return 2 if self.without["failed"] or not self.ran else 0


def main(argv: list[str]) -> int:
    options = parse(argv)
    roots, ratings = roots_of(options), pairs_of("--ratings", options.ratings, "SET=N")
    only = options.only.split(",") if options.only else list(STEPS)
    without = options.without.split(",")
    if unknown := [s for s in [*only, *without] if s and s not in STEPS]:
        raise UserError(f"step {unknown[0]} is not known: there are {', '.join(STEPS)}")
    outcomes = Outcomes()
    for dataset in options.sets.split(",") if options.sets else dict.fromkeys([*SETS, *roots]):
        if dataset != "sample" and dataset not in roots:
            source = getattr(readers().get(dataset.partition("_")[0]), "page", "its authors")
            outcomes.without["missing"].append(f"{dataset}: no --root given; get it from {source}")
            continue
        root = [f"dataset.root={roots[dataset]}"] if dataset in roots else []
        for name in only:
            if name in without:
                outcomes.without["left out"].append(f"{dataset} {name}: --without")
                continue
            more = (
                [f"experiment.ratings={ratings[dataset]}"]
                if name == "experiment-raters" and dataset in ratings
                else []
            )
            overrides = [f"dataset={dataset}", *root, *STEPS[name][1], *more, *options.overrides]
            outcomes.step(options.out / dataset / name, name, overrides)
    report = None if options.no_report else options.report or options.out / "report"
    return outcomes.finish(options.out, report, not options.no_thumbnails)


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
