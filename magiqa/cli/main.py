"""The ``magiqa`` command. The only module that knows Hydra.

Configs compose with Hydra's compose API, so that nothing is written but what a command says it writes: no
``outputs/`` or ``multirun/`` folder, no change of directory.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from magiqa.config.compose import STUDIES, as_yaml, compose, configs, is_users, make_job
from magiqa.config.inherit import composer
from magiqa.config.paths import LITERAL, split_literal
from magiqa.config.rerun import job_of
from magiqa.config.sweep import inside, sweep_jobs
from magiqa.config.trust import GROUPS
from magiqa.errors import UserError, one_line
from magiqa.package import conf_dir

HELP = """magiqa: training-free, CLIP-based no-reference image quality assessment, benchmarked.

  magiqa evaluate [overrides]        encode, score, and report the agreement with human opinion
  magiqa evaluate -m dataset=a,b     every combination, one folder each and one table
  magiqa encode   [overrides]        fill the feature cache and nothing else
  magiqa ablate   ablation=NAME [overrides]        variants on cached features, with paired differences
  magiqa compare  RUN OTHER...                     paired tests; OTHER: runs, or CSV files
  magiqa reconcile  ROW | RUN RUN                    from one protocol to the other, a factor at a time
  magiqa experiment experiment=NAME [overrides]    tables and figures of the paper's kind
  magiqa report   DIR... out=DIR                   tables, figures and one HTML page of runs and ablations
  magiqa pack     RUN [out=FILE]                   features, labels and records in one file: a bundle
  magiqa verify   BUNDLE dataset.root=DIR [backbone.checkpoint=FILE]
  magiqa check    dataset=NAME dataset.root=DIR    is the data set complete and readable?
  magiqa cache    [verify | prune=KEY|corrupt|all] [cache_dir=DIR]

A CSV for compare has the columns image,score, higher = better.
Overrides are Hydra's: group=option (see below) or key=value, e.g.
  magiqa evaluate dataset=koniq dataset.root=~/koniq backbone=rn50 fusion.alpha=2

bundle=FILE in place of images and weights: evaluate, ablate, experiment and report run from it. It holds features of
one backbone and one set of views: experiment=main, attribution, magnitude and ablations of either need more.
reconcile and experiments take the options that they name as packaged: keys typed for those groups (fusion.alpha=2) are
for the run as configured alone. In ablations they go on to every option that shares the key and its value.
Paths (*.root, *.annotation, *.checkpoint, out, bundle, cache_dir) are taken as typed.
Your own configs: ./conf/GROUP/NAME.yaml, or --config-dir DIR, in the form that --cfg prints of an option.
--cfg prints the composed config; HYDRA_FULL_ERROR=1 shows tracebacks.
"""


def _evaluate(options: argparse.Namespace) -> int:
    with configs(options.config_dir) as searchpath:
        if options.multirun:
            return _evaluate_many(options, searchpath)
        job = make_job(options.args, searchpath)
    from magiqa.studies.evaluate import evaluate

    evaluate(job, show=partial(print, flush=True))
    print(f"\n{job.folder}/: scores.csv, agreement.csv, record.json{', figures/' if job.figures else ''}")
    return 0


def _evaluate_many(options: argparse.Namespace, searchpath: str) -> int:
    import hashlib

    from magiqa.runs.folder import make_folder
    from magiqa.studies.evaluate import evaluate
    from magiqa.studies.sweep import SWEEP, combine

    jobs = sweep_jobs(options.args)
    out = split_literal(options.args)[1].get("out")
    digest = hashlib.sha256("\n".join(options.args).encode()).hexdigest()[:8]
    folder = Path(out).expanduser() if out else Path("results/runs") / f"sweep-{digest}"
    make_folder(folder, SWEEP, ["agreement.csv", "table.md"])
    done: list[tuple[Any, Any]] = []
    failures: list[dict[str, str]] = []
    names: dict[str, list[str]] = {}
    for i, overrides in enumerate(jobs):
        print(f"[{i + 1}/{len(jobs)}] {' '.join(overrides)}", flush=True)
        try:
            name = make_job(overrides, searchpath).name
            if name in names:
                raise UserError(f"the same run as {' '.join(names[name])}: drop one of the two")
            names[name] = overrides
            show = partial(print, end="\n\n", flush=True)
            done.append(evaluate(make_job([*overrides, f"out={folder / name}"], searchpath), show=show))
        except Exception as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            failures.append({"job": " ".join(overrides), "error": one_line(error)})
            print(f"magiqa: {failures[-1]['error']}", file=sys.stderr, flush=True)
    print(combine(folder, done, failures))
    print(f"\n{folder}/: agreement.csv, table.md, and one folder a job")
    return 2 if failures else 0


def _encode(options: argparse.Namespace) -> int:
    with configs(options.config_dir) as searchpath:
        every = sweep_jobs(options.args) if options.multirun else [options.args]
        jobs = [make_job(overrides, searchpath) for overrides in every]
    from magiqa.features.source import prepare
    from magiqa.runs.record import Clock

    for job in jobs:
        clock = Clock()
        features = prepare(job, clock)
        record = features.record
        engine = " ".join(str(record["engine"][k]) for k in ("engine", "precision", "device"))
        print(
            f"{record['dataset']['name']}: {len(features.images)} images, {record['views']['count']} views, "
            f"{record['cache']['views_encoded']} of them new; {engine}; {features.cache.folder}"
        )
        for one in features.skipped:
            print(f"left out: {one['reason']}")
        for warning in clock.warnings:
            print(f"warning: {warning}")
    return 0


def _ablate(options: argparse.Namespace) -> int:
    from magiqa.runs.folder import make_folder, write_csv
    from magiqa.studies.ablate import ablate, folder_of, render, transfer

    with configs(options.config_dir) as searchpath:
        if not options.multirun:
            job = make_job(options.args, searchpath)
            table, record = ablate(job, composer(options.args, searchpath))
            print(render(table, record))
            print(f"\n{folder_of(job)}/: ablation.csv, record.json{', figures/' if job.figures else ''}")
            return 0
        out = split_literal(options.args)[1].get("out")
        done = []
        for overrides in sweep_jobs(options.args):
            print(f"{' '.join(overrides)}", flush=True)
            overrides = inside(out, "ablation", overrides, searchpath)
            done.append(ablate(make_job(overrides, searchpath), composer(overrides, searchpath)))
            print(render(*done[-1]) + "\n", flush=True)
    names = [r["dataset"]["name"] + r["dataset"]["variant"] for _, r in done]
    if len(done) > 1 and len(set(names)) == len(names) and len({tuple(t["variant"]) for t, _ in done}) == 1:
        left_out = transfer(done)
        folder = Path(out).expanduser() if out else Path("results/ablations")
        make_folder(folder)
        write_csv(left_out, folder / f"{done[0][1]['ablation']['name']}-left_out.csv")
        print("one data set left out: the variant chosen on the others, and what it gains over the reference")
        print(left_out.to_string(index=False))
    return 0


def _experiment(options: argparse.Namespace) -> int:
    from magiqa.studies.experiments.run import run

    with configs(options.config_dir) as searchpath:
        out = split_literal(options.args)[1].get("out")
        for overrides in sweep_jobs(options.args) if options.multirun else [options.args]:
            if options.multirun:
                print(f"{' '.join(overrides)}", flush=True)
                overrides = inside(out, "experiment", overrides, searchpath)
            print(run(make_job(overrides, searchpath), composer(overrides, searchpath, packaged=True)))
    return 0


def _words(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Positional words and overrides, in any order: an argument that exists as a path is a word."""
    words = [a for a in args if "=" not in a or (not LITERAL.match(a) and Path(a).expanduser().exists())]
    return words, [a for a in args if a not in words]


def _plain(command: str, overrides: Sequence[str], known: Sequence[str]) -> dict[str, str | None]:
    """The overrides of a command that composes no config: only the known keys."""
    out: dict[str, str | None] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        if key not in known:
            raise UserError(
                f"{command}: {override} is not understood; it takes {', '.join(f'{k}=' for k in known)}"
            )
        out[key] = value
    return out


def _number(command: str, key: str, value: str | None, default: int) -> int:
    if value is not None and not value.isdigit():
        raise UserError(f"{command}: {key}={value} must be a whole number")
    return default if value is None else int(value)


def _compare(options: argparse.Namespace) -> int:
    from magiqa.studies.compare import compare, render

    words, overrides = _words(options.args)
    if not words:
        raise UserError("compare: give a run's folder, then runs or CSV files of image,score")
    given = _plain("compare", overrides, ("score", "out", "resamples", "seed"))
    table, record = compare(
        words[0],
        words[1:],
        score=given.get("score") or "q",
        out=given.get("out"),
        resamples=_number("compare", "resamples", given.get("resamples"), 2000),
        seed=_number("compare", "seed", given.get("seed"), 0),
    )
    print(render(table, record))
    print(f"\n{given.get('out') or words[0]}/: comparison.csv")
    return 0


def _reconcile(options: argparse.Namespace) -> int:
    from magiqa.runs.folder import make_folder
    from magiqa.runs.read import read_record
    from magiqa.runs.record import Clock
    from magiqa.studies.protocols import overrides_of, published_row
    from magiqa.studies.reconcile import reconcile, render, write

    words, overrides = _words(options.args)
    out = split_literal(overrides)[1].get("out")
    overrides = [o for o in overrides if not o.startswith("out=")]
    row, records = None, []
    if len(words) == 2:
        records = [read_record(Path(w).expanduser()) for w in words]
        first, last = (job_of(Path(w).expanduser(), overrides) for w in words)
        default = Path(words[0]).expanduser() / "reconcile"
    elif len(words) == 1:
        row = published_row(words[0])
        with configs(options.config_dir) as searchpath:
            first = make_job(overrides, searchpath)
            sets = sorted(f.stem for f in (conf_dir() / "dataset").glob("*.yaml"))
            last = composer(overrides, searchpath, packaged=True)(overrides_of(row, sets, first.backbone))
        default = Path("results/reconcile") / re.sub(r"[^A-Za-z0-9.-]+", "_", words[0])
    else:
        raise UserError(
            "reconcile: give two runs' folders, or a published row METHOD:DATASET with overrides of yours"
        )
    folder, clock = Path(out).expanduser() if out else default, Clock()
    make_folder(folder, "reconcile", ["reconcile.csv"])
    table, features = reconcile(
        first, last, resamples=first.resamples, seed=first.seed, clock=clock, records=records
    )
    write(folder, table, features, row, clock)
    print(render(table, features, row, clock.warnings))
    print(f"\n{folder}/: reconcile.csv, record.json")
    return 0


def _report(options: argparse.Namespace) -> int:
    from magiqa.report.page import report

    words, overrides = _words(options.args)
    own = [o for o in overrides if o.startswith(("out=", "thumbnails="))]
    given = _plain("report", own, ("out", "thumbnails"))
    bundles = [o for o in overrides if o.startswith("bundle=")]
    rest = [o for o in overrides if o not in own and o not in bundles]
    if rest and not bundles:
        raise UserError(f"report: {rest[0]} is not understood; it takes out=, thumbnails= and bundle=")
    if not given.get("out"):
        raise UserError("report: out is not set: add out=DIR")
    out = Path(str(given["out"])).expanduser()
    folders = [Path(w).expanduser() for w in words]
    for i, bundle in enumerate(bundles):
        from magiqa.studies.evaluate import evaluate

        folder = out / "runs" / f"bundle-{i}"
        with configs(options.config_dir) as searchpath:
            evaluate(make_job([*rest, bundle, f"out={folder}"], searchpath))
        folders.append(folder)
    if not folders:
        raise UserError("report: give folders written by magiqa evaluate or magiqa ablate, or bundle=FILE")
    if given.get("thumbnails", "true") not in ("true", "false"):
        raise UserError(f"report: thumbnails={given['thumbnails']} must be true or false")
    written = report(folders, out, thumbnails=given.get("thumbnails", "true") == "true")
    print(f"{out}/: report.html, tables/, figures/ ({len(written)} files)")
    return 0


def _pack(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from magiqa.studies.pack import pack

    words, overrides = _words(options.args)
    if len(words) != 1:
        raise UserError("pack: give one run's folder: magiqa pack RUN [out=FILE]")
    out = split_literal(overrides)[1].get("out")
    folder = Path(words[0]).expanduser()
    job = replace(job_of(folder, [o for o in overrides if not o.startswith("out=")]), out=str(folder))
    sets = []
    with configs(options.config_dir) as searchpath:
        for option in sorted(f.stem for f in (conf_dir() / "prompts").glob("*.yaml")):
            sets.append(make_job([f"prompts={option}"], searchpath).prompts)
    path = pack(folder, job, sets, out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; no images, no weights")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from magiqa.studies.verify import verify

    words, overrides = _words(options.args)
    if len(words) != 1:
        raise UserError(
            "verify: give one bundle: magiqa verify FILE dataset.root=DIR [backbone.checkpoint=FILE]"
        )
    seeds = [o.removeprefix("seed=") for o in overrides if o.startswith("seed=")]
    if seeds and not seeds[-1].isdigit():
        raise UserError(f"verify: seed={seeds[-1]} must be a whole number")
    with configs(options.config_dir) as searchpath:
        job = make_job(
            [f"bundle={words[0]}", *(o for o in overrides if not o.startswith("seed="))], searchpath
        )
    typed = [o.partition("=")[0] for o in overrides]
    places = {
        "dataset.root": getattr(job.dataset, "root", None),
        "backbone.checkpoint": job.backbone.checkpoint,
        "backbone.name": job.backbone.name if job.backbone.name.startswith("local-dir:") else None,
    }
    for key, theirs in places.items():  # a bundle's own paths are never used
        if theirs and key not in typed and not (key == "dataset.root" and job.choices["dataset"] == "sample"):
            raise UserError(
                f"verify: add {key}=PATH, where it lies on this machine (the bundle has {theirs})"
            )
    problems, done = verify(words[0], job, seed=int(seeds[-1]) if seeds else None)
    print(
        f"{words[0]}: {done['labels']} labels compared; {done['images']} images encoded anew (seed={done['seed']}), "
        f"largest difference {done['largest_difference']:.2g} of {done['tolerance']:g} allowed"
    )
    for problem in problems:
        print(problem, file=sys.stderr)
    print("this bundle is NOT what it claims" if problems else "this bundle is what it claims")
    return 2 if problems else 0


def _check(options: argparse.Namespace) -> int:
    from magiqa.datasets.check import check, render

    with configs(options.config_dir) as searchpath:
        job = make_job(options.args, searchpath)
    report = check(job.dataset)
    print(render(report))
    return 0 if report.usable else 2


def _cache(options: argparse.Namespace) -> int:
    from magiqa.features.shard import verify_shard
    from magiqa.features.upkeep import describe, hashes, listing, prune
    from magiqa.runs.config import default_cache_dir

    words, literal = split_literal(options.args)
    root = Path(
        literal.pop("cache_dir", None) or os.environ.get("MAGIQA_CACHE") or default_cache_dir()
    ).expanduser()
    unknown = [w for w in words if w != "verify" and not w.startswith("prune=")] + list(literal)
    if unknown or len(words) > 1:
        raise UserError(
            f"cache: {' '.join([*words, *literal])} is not understood: use verify, or prune=KEY|corrupt|all"
        )
    if words and words[0].startswith("prune="):
        count, size = prune(root, words[0].removeprefix("prune="))
        print(f"{root}: removed {count} files, {size / 1e6:.1f} MB")
        return 0
    bad: list[str] = []
    for row in listing(root):
        what = describe(row["key"]) + "".join(f"; {n} by {m}" for m, n in sorted(row["makers"].items()))
        print(
            f"{row['name']}  {row['images']:>6} images  {row['views']:>8} views  {row['bytes'] / 1e6:>8.1f} MB  {what}"
        )
        bad += [f"{s}: not readable" for s in row["unreadable"]]
        if words:
            for shard in sorted((root / "features" / row["name"]).glob("*.safetensors")):
                if shard not in row["unreadable"]:
                    try:
                        verify_shard(shard)
                    except UserError as error:
                        bad.append(str(error))
    print(hashes(root))
    print(f"{root}" + (": every shard matches its checksum" if words and not bad else ""))
    for line in bad:
        print(line, file=sys.stderr)
    return 2 if bad else 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "evaluate": _evaluate,
    "encode": _encode,
    "ablate": _ablate,
    "experiment": _experiment,
    "compare": _compare,
    "reconcile": _reconcile,
    "report": _report,
    "pack": _pack,
    "verify": _verify,
    "check": _check,
    "cache": _cache,
}


def options_text() -> str:
    """The options of each config group, read from the folder."""
    lines = [
        f"  {g:<10} {', '.join(sorted(f.stem for f in (conf_dir() / g).glob('*.yaml')))}"
        for g in (*GROUPS, *STUDIES)
    ]
    return "Groups and their options:\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for what a user can mend, 130 when stopped by hand."""
    parser = argparse.ArgumentParser("magiqa", add_help=False, allow_abbrev=False)
    parser.add_argument("command", nargs="?")
    parser.add_argument("args", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--config-dir")
    parser.add_argument("--cfg", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    options = parser.parse_intermixed_args(argv)
    if options.version:
        from magiqa import __version__

        print(f"magiqa {__version__}")
        return 0
    try:
        if options.help or options.command is None:
            print(f"{HELP}\n{options_text()}")
            return 0 if options.help else 2
        if options.command not in COMMANDS:
            raise UserError(
                f"magiqa {options.command}: no such command; use {', '.join(COMMANDS)}, or --help"
            )
        if options.cfg:
            with configs(options.config_dir) as searchpath:
                print(as_yaml(compose(options.args, searchpath)[0]), end="")
            return 0
        return COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print(
            "magiqa: stopped; what was encoded is cached: the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or not is_users(error):
            raise
        print(f"magiqa: {one_line(error)}", file=sys.stderr)
        return 2
