"""The ``magiqa`` command. The only module that knows Hydra.

Configs compose with Hydra's compose API, so that nothing is written but what a command says it writes: no
``outputs/`` or ``multirun/`` folder, no change of directory.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magiqa.errors import UserError

if TYPE_CHECKING:
    from magiqa.job import Job

GROUPS = ("backbone", "prompts", "views", "magnitude", "fusion", "dataset")
STUDIES = ("ablation", "experiment")  # groups that a run itself does not need
# where files lie and how small images are dealt with: true of a data set or machine, whichever option is named
_PLACES = ("dataset.root", "dataset.annotation", "backbone.checkpoint", "views.small")
_LITERAL = re.compile(
    r"^\+{0,2}((?:[\w.]+\.)?(?:root|annotation|checkpoint)|out|bundle|cache_dir)=(.*)$", re.DOTALL
)

HELP = """magiqa: training-free, CLIP-based no-reference image quality assessment, benchmarked.

  magiqa evaluate [overrides]        encode, score, and report the agreement with human opinion
  magiqa evaluate -m dataset=a,b     every combination, one folder each and one table
  magiqa encode   [overrides]        fill the feature cache and nothing else
  magiqa ablate   ablation=NAME [overrides]        variants on cached features, with paired differences
  magiqa compare  RUN OTHER...                     paired tests; OTHER: runs, or CSV files
  magiqa explain  ROW | RUN RUN                    from one protocol to the other, a factor at a time
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
explain and experiments take the options that they name as packaged: keys typed for those groups (fusion.alpha=2) are
for the run as configured alone. In ablations they go on to every option that shares the key and its value.
Paths (*.root, *.annotation, *.checkpoint, out, bundle, cache_dir) are taken as typed.
Your own configs: ./conf/GROUP/NAME.yaml, or --config-dir DIR, in the form that --cfg prints of an option.
--cfg prints the composed config; HYDRA_FULL_ERROR=1 shows tracebacks.
"""


def conf_dir() -> Path:
    """The configs: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise UserError("magiqa's conf folder is not beside the package: reinstall magiqa")


def search_path(config_dir: str | None) -> list[Path]:
    """The user's config folders: ``./conf`` and ``--config-dir``.

    Raises:
        UserError: a folder is missing, or holds a config that the package or the other folder has too (Hydra
            would silently ignore one of them).
    """
    own = conf_dir()
    folders: list[Path] = []
    if config_dir is not None:
        folder = Path(config_dir).expanduser()
        if not folder.is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        folders.append(folder)
    if Path("conf").is_dir():
        folders.append(Path("conf"))
    seen: dict[Path, Path] = {f.relative_to(own): f for f in own.rglob("*.yaml")}
    out: list[Path] = []
    for folder in dict.fromkeys(f.resolve() for f in folders):
        if folder == own:
            continue
        for file in sorted(folder.rglob("*.yaml")):
            name = file.relative_to(folder)
            if name in seen:
                raise UserError(
                    f"{file}: {seen[name]} has that name too and one would be ignored; rename your file"
                )
            seen[name] = file
        out.append(folder)
    return out


def split_literal(overrides: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Set apart the overrides whose values are paths, which Hydra's grammar must not touch.

    Example:
        >>> split_literal(["fusion.alpha=2", "dataset.root=~/a b,[c]"])
        (['fusion.alpha=2'], {'dataset.root': '~/a b,[c]'})
    """
    rest: list[str] = []
    literal: dict[str, str | None] = {}
    for override in overrides:
        match = _LITERAL.match(override)
        if match:
            literal[match[1]] = None if match[2] == "null" else match[2]
        else:
            rest.append(override)
    return rest, literal


@contextmanager
def _configs(config_dir: str | None) -> Iterator[str]:
    from hydra import initialize_config_dir

    folders = search_path(config_dir)
    quoted = ",".join("'file://" + str(f).replace("\\", "\\\\").replace("'", "\\'") + "'" for f in folders)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield f"hydra.searchpath=[{quoted}]"


def compose(overrides: Sequence[str], searchpath: str) -> tuple[Any, dict[str, str]]:
    """Compose a config: a DictConfig and the option chosen in each group."""
    import hydra
    from hydra.errors import ConfigCompositionException
    from omegaconf import OmegaConf, open_dict

    rest, literal = split_literal(overrides)
    bundled = _bundled(rest, literal.get("bundle"))
    composed = [*bundled[0], *rest, searchpath]
    try:
        cfg = hydra.compose("config", overrides=composed, return_hydra_config=True)
    except ConfigCompositionException as error:
        raise UserError(one_line(error) + _suggest(composed, error)) from error
    choices = {g: str(cfg.hydra.runtime.choices[g]) for g in GROUPS}
    with open_dict(cfg):
        del cfg["hydra"]
        for key, value in bundled[1].items():
            made = OmegaConf.select(cfg, f"{key}.root")
            if made is not None:  # a set that magiqa makes lies where this machine has it
                value["root"] = made
            for typed in _typed(rest):
                if typed.startswith(f"{key}."):
                    OmegaConf.update(value, typed.removeprefix(f"{key}."), OmegaConf.select(cfg, typed))
            cfg[key] = value
    choices |= bundled[2]
    for key, value in literal.items():
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        keys = [str(k) for k in node.keys()] if OmegaConf.is_dict(node) else []  # noqa: SIM118 (`in` hides ???)
        if leaf not in keys:
            raise UserError(f"{key}: no such key in the config; {parent or 'it'} has {', '.join(keys)}")
        if value is not None and "${" in value:
            raise UserError(
                f"{key}={value}: holds ${{, which configs read as a reference; rename the folder or link to it"
            )
        node[leaf] = value
    return cfg, choices


def _typed(overrides: Sequence[str]) -> list[str]:
    """The keys that overrides set."""
    return [o.lstrip("+~").partition("=")[0].partition("@")[0] for o in overrides]


def _bundled(rest: Sequence[str], bundle: str | None) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """What a bundle's own config says where the overrides do not: options, nodes and scalars, names of options.

    Raises:
        UserError: the file does not match its checksum, or its config names what is not magiqa's own.
    """
    if bundle is None:
        return [], {}, {}
    from omegaconf import OmegaConf

    from magiqa.bundle import read_meta, verify_bundle
    from magiqa.job import MACHINE
    from magiqa.results import portable
    from magiqa.trust import check_config

    verify_bundle(bundle)
    meta = read_meta(bundle)
    known = [key for key in _top_keys() if key not in (*MACHINE, *STUDIES)]
    check_config(meta.get("config"), meta.get("choices"), f"bundle={bundle}", known, _trusted(rest))
    typed = set(_typed(rest))
    # paths of a bundle are of another machine: their last part is a name and no more
    held = {k: v for k, v in portable(meta["config"]).items() if k not in typed}
    choices = {g: c for g, c in meta["choices"].items() if g in held}
    # with the same options composed, Hydra checks the keys typed against the right fields
    options = [f"{g}={c}" for g, c in choices.items() if (conf_dir() / g / f"{c}.yaml").is_file()]
    nodes = {k: OmegaConf.create(v) if isinstance(v, dict) else v for k, v in held.items()}
    return options, nodes, choices


@cache
def _top_keys() -> tuple[str, ...]:
    """The keys of ``conf/config.yaml``, groups included."""
    import yaml

    own = yaml.safe_load((conf_dir() / "config.yaml").read_text())
    return (*GROUPS, *STUDIES, *(key for key in own if key != "defaults"))


def _trusted(overrides: Sequence[str]) -> list[str]:
    """The classes that the user names by ``trust=``: what a file may name beside magiqa's own."""
    given = dict(map(_value, (o for o in overrides if o.startswith("trust=")))).get("trust", [])
    return [str(name) for name in (given if isinstance(given, list) else [given])]


def _suggest(overrides: Sequence[str], error: Exception) -> str:
    """For an override of a key that does not exist: the nearest key that does."""
    import difflib

    import hydra
    from omegaconf import OmegaConf

    named = re.search(r"Could not override '([\w.]+)'", str(error))
    if named is None:
        return ""
    groups = [o for o in overrides if o.split("=")[0] in GROUPS]
    keys: list[str] = []
    pending: list[tuple[str, Any]] = [("", OmegaConf.to_container(hydra.compose("config", overrides=groups)))]
    while pending:
        prefix, node = pending.pop()
        for key, value in node.items():
            keys.append(f"{prefix}{key}")
            if isinstance(value, dict):
                pending.append((f"{prefix}{key}.", value))
    near = difflib.get_close_matches(named[1], keys, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def make_job(overrides: Sequence[str], searchpath: str) -> "Job":
    """Compose and instantiate: past this function there is no DictConfig."""
    from omegaconf import OmegaConf

    cfg, choices = compose(overrides, searchpath)
    if cfg.cache_dir is None:
        from magiqa.job import default_cache_dir

        cfg.cache_dir = default_cache_dir()
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(
            f"{missing[0]} is not set: add {missing[0]}=VALUE"
            + (f" (the folder of the data set {choices['dataset']})" if missing[0] == "dataset.root" else "")
        )
    return _instantiated(cfg, choices)


def _instantiated(cfg: Any, choices: dict[str, str]) -> "Job":
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from magiqa.job import Job

    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for group in (*GROUPS, *STUDIES):
        node = config.get(group)
        if node is None:
            continue
        if "_target_" not in node:
            raise UserError(
                f"{group}={choices.get(group, '')}: its file names no _target_; copy it from an option of that group, "
                "as --cfg prints it"
            )
        _check_types(node, group)
    return Job(**instantiate(config, _convert_="all"), choices=choices, config=config)


def _check_types(node: dict[str, Any], prefix: str) -> None:
    """Check the plain values of an object's config against the types of its fields: no text passes for true.

    A whole number for a field of text becomes one, in place: a column may be called 1.

    Raises:
        UserError: naming the key and what it must be.
    """
    from dataclasses import MISSING, fields, is_dataclass
    from types import UnionType
    from typing import Literal, Union, get_args, get_origin

    from hydra.utils import get_class

    try:
        target = get_class(node["_target_"])
    except Exception:  # a function, or nothing at all: instantiating says what is wrong
        return
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "text",
        type(None): "null",
    }
    if not is_dataclass(target):
        return
    types = {f.name: f.type for f in fields(target)}
    missing = [
        f.name for f in fields(target) if f.default is f.default_factory is MISSING and f.name not in node
    ]
    if missing:
        raise UserError(f"{prefix}.{missing[0]} is not set; {target.__name__} needs it")
    for key, value in node.items():
        if key not in types and not key.startswith("_"):
            raise UserError(f"{prefix}.{key}: {target.__name__} has no such field; it has {', '.join(types)}")
        if isinstance(value, dict) and "_target_" in value:
            _check_types(value, f"{prefix}.{key}")
            continue
        kind = types.get(key)
        if kind == "Resize | None" and value is not None:
            raise UserError(f"{prefix}.{key}={value}: add _target_: magiqa.views.Resize to it")
        if get_origin(kind) is tuple and not isinstance(value, list):
            raise UserError(f"{prefix}.{key}={value} must be a list, such as [{value}]")
        allowed = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if any(a not in words and get_origin(a) is not Literal for a in allowed):
            continue  # of a kind that its class checks itself
        if any(
            type(value) is a or (a is float and type(value) is int) or value in get_args(a) for a in allowed
        ):
            continue
        if str in allowed and type(value) is int:
            node[key] = str(value)
            continue
        good = [words[a] if a in words else ", ".join(get_args(a)) for a in allowed]
        raise UserError(f"{prefix}.{key}={value} must be {' or '.join(good)}")


def _sweep(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of ``-m``: Hydra's own grammar for the product of choices, paths kept as typed."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    rest, _ = split_literal(overrides)
    literal = [o for o in overrides if _LITERAL.match(o) and not o.startswith("out=")]
    batches = BasicSweeper.split_arguments(
        OverridesParser.create().parse_overrides(list(rest)), max_batch_size=None
    )
    return [[*job, *literal] for batch in batches for job in batch]


def _evaluate(options: argparse.Namespace) -> int:
    with _configs(options.config_dir) as searchpath:
        if options.multirun:
            return _evaluate_many(options, searchpath)
        job = make_job(options.args, searchpath)
    from magiqa.runner import evaluate

    evaluate(job, show=partial(print, flush=True))
    print(f"\n{job.folder}/: scores.csv, agreement.csv, record.json{', figures/' if job.figures else ''}")
    return 0


def _evaluate_many(options: argparse.Namespace, searchpath: str) -> int:
    import hashlib

    from magiqa.runner import SWEEP, combine, evaluate, make_folder

    jobs = _sweep(options.args)
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
    with _configs(options.config_dir) as searchpath:
        every = _sweep(options.args) if options.multirun else [options.args]
        jobs = [make_job(overrides, searchpath) for overrides in every]
    from magiqa.runner import Clock, prepare

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


def _composer(
    args: Sequence[str], searchpath: str, *, packaged: bool = False
) -> "Callable[[list[str]], Job]":
    """Composes a job anew with some overrides in place of those of the same keys.

    Where an override names a group's option (``fusion=fixed``), keys typed for that group (``fusion.alpha=2``) go on
    to it if it and the option configured have them with the same value: what sets the two apart is as the option
    says. Paths, and what is done with small images, always go on.

    Args:
        packaged: no other key goes on: an option that is named is what its file says.
    """
    fields = cache(partial(_fields, searchpath=searchpath))  # the same options come in many variants

    def shared(group: str, overrides: list[str]) -> set[str]:
        """The keys that the option configured and that of the overrides have with the same value."""
        one, other = (
            fields(
                group, tuple(a for a, k in zip(texts, _typed(texts), strict=True) if k in (group, "bundle"))
            )
            for texts in (args, overrides)
        )
        return {key for key, value in one.items() if other.get(key) == value}

    def composed(overrides: list[str]) -> "Job":
        new = set(_typed(overrides))
        kept = [a for a, key in zip(args, _typed(args), strict=True) if key not in new]
        for group in new.intersection(GROUPS):
            typed = {k for k in _typed(kept) if k.startswith(f"{group}.")}.difference(_PLACES)
            if typed:
                typed -= set() if packaged else shared(group, overrides)
                kept = [a for a, key in zip(kept, _typed(kept), strict=True) if key not in typed]
        return make_job([*kept, *overrides], searchpath)

    return composed


def _fields(group: str, chosen: tuple[str, ...], searchpath: str) -> dict[str, str]:
    """The keys and values of a group's option, which overrides choose, as its file says."""
    from omegaconf import OmegaConf

    cfg, choices = compose(chosen, searchpath)
    option = choices[group]
    if (conf_dir() / group / f"{option}.yaml").is_file():  # as packaged, not as a bundle had it
        cfg, _ = compose([f"{group}={option}"], searchpath)
    return {key: repr(value) for key, value in _leaves(OmegaConf.to_container(cfg[group]), group)}


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings, inner nodes too."""
    yield prefix, node
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from _leaves(value, f"{prefix}.{key}")


def _ablate(options: argparse.Namespace) -> int:
    from magiqa.ablation import ablate, folder_of, render, transfer
    from magiqa.runner import make_folder, write_csv

    with _configs(options.config_dir) as searchpath:
        if not options.multirun:
            job = make_job(options.args, searchpath)
            table, record = ablate(job, _composer(options.args, searchpath))
            print(render(table, record))
            print(f"\n{folder_of(job)}/: ablation.csv, record.json{', figures/' if job.figures else ''}")
            return 0
        out = split_literal(options.args)[1].get("out")
        done = []
        for overrides in _sweep(options.args):
            print(f"{' '.join(overrides)}", flush=True)
            overrides = _inside(out, "ablation", overrides, searchpath)
            done.append(ablate(make_job(overrides, searchpath), _composer(overrides, searchpath)))
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
    from magiqa.experiments import run

    with _configs(options.config_dir) as searchpath:
        out = split_literal(options.args)[1].get("out")
        for overrides in _sweep(options.args) if options.multirun else [options.args]:
            if options.multirun:
                print(f"{' '.join(overrides)}", flush=True)
                overrides = _inside(out, "experiment", overrides, searchpath)
            print(run(make_job(overrides, searchpath), _composer(overrides, searchpath, packaged=True)))
    return 0


def _inside(out: str | None, study: str, overrides: list[str], searchpath: str) -> list[str]:
    """The overrides of one job of a sweep, its results in a folder of its own inside ``out``."""
    if not out:
        return overrides
    job = make_job(overrides, searchpath)
    name = getattr(getattr(job, study), "name", study)
    return [*overrides, f"out={Path(out).expanduser() / f'{name}-{job.name}'}"]


def _words(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Positional words and overrides, in any order: an argument that exists as a path is a word."""
    words = [a for a in args if "=" not in a or (not _LITERAL.match(a) and Path(a).expanduser().exists())]
    return words, [a for a in args if a not in words]


def _value(override: str) -> tuple[str, Any]:
    """The key and the value of an override, by Hydra's own grammar.

    Raises:
        UserError: several values, a deletion, or no override at all.

    Example:
        >>> _value("resamples=500"), _value("views.kinds=[whole]")
        (('resamples', 500), ('views.kinds', ['whole']))
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_sweep_override() or parsed.is_delete():
        raise UserError(f"{override}: give one value, as KEY=VALUE")
    return parsed.key_or_group, parsed.value()


def job_of(folder: Path, overrides: Sequence[str] = ()) -> "Job":
    """The job of a run's folder, from the config in its record; overrides of paths and machine settings on top."""
    from omegaconf import OmegaConf

    from magiqa.bundle import read_record
    from magiqa.job import default_cache_dir
    from magiqa.trust import check_config

    record = read_record(folder)
    rest, literal = split_literal(overrides)
    check_config(
        record.get("config"), record.get("choices"), f"{folder}/record.json", _top_keys(), _trusted(rest)
    )
    cfg: Any = OmegaConf.create(record["config"])
    given = dict(map(_value, rest))
    for key, value in [*given.items(), *literal.items()]:
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if not OmegaConf.is_dict(node) or leaf not in [str(k) for k in node.keys()]:  # noqa: SIM118 (`in` hides ???)
            raise UserError(f"{key}: no such key in the config of {folder}")
        if key in GROUPS:
            raise UserError(
                f"{key}={value}: {folder} has its own config; override fields ({key}.FIELD=VALUE), not whole options"
            )
        OmegaConf.update(cfg, key, value)
    cfg["ablation"] = cfg["experiment"] = None
    if not cfg.get("cache_dir"):
        cfg["cache_dir"] = os.environ.get("MAGIQA_CACHE") or default_cache_dir()
    return _instantiated(cfg, record["choices"])


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
    from magiqa.compare import compare, render

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


def _explain(options: argparse.Namespace) -> int:
    from magiqa.bundle import read_record
    from magiqa.explain import explain, overrides_of, published_row, render, write
    from magiqa.runner import Clock, make_folder

    words, overrides = _words(options.args)
    out = split_literal(overrides)[1].get("out")
    overrides = [o for o in overrides if not o.startswith("out=")]
    row, records = None, []
    if len(words) == 2:
        records = [read_record(Path(w).expanduser()) for w in words]
        first, last = (job_of(Path(w).expanduser(), overrides) for w in words)
        default = Path(words[0]).expanduser() / "explain"
    elif len(words) == 1:
        row = published_row(words[0])
        with _configs(options.config_dir) as searchpath:
            first = make_job(overrides, searchpath)
            sets = sorted(f.stem for f in (conf_dir() / "dataset").glob("*.yaml"))
            last = _composer(overrides, searchpath, packaged=True)(overrides_of(row, sets, first.backbone))
        default = Path("results/explain") / re.sub(r"[^A-Za-z0-9.-]+", "_", words[0])
    else:
        raise UserError(
            "explain: give two runs' folders, or a published row METHOD:DATASET with overrides of yours"
        )
    folder, clock = Path(out).expanduser() if out else default, Clock()
    make_folder(folder, "explain", ["explain.csv"])
    table, features = explain(
        first, last, resamples=first.resamples, seed=first.seed, clock=clock, records=records
    )
    write(folder, table, features, row, clock)
    print(render(table, features, row, clock.warnings))
    print(f"\n{folder}/: explain.csv, record.json")
    return 0


def _report(options: argparse.Namespace) -> int:
    from magiqa.report import report

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
        from magiqa.runner import evaluate

        folder = out / "runs" / f"bundle-{i}"
        with _configs(options.config_dir) as searchpath:
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

    from magiqa.bundle import pack

    words, overrides = _words(options.args)
    if len(words) != 1:
        raise UserError("pack: give one run's folder: magiqa pack RUN [out=FILE]")
    out = split_literal(overrides)[1].get("out")
    folder = Path(words[0]).expanduser()
    job = replace(job_of(folder, [o for o in overrides if not o.startswith("out=")]), out=str(folder))
    sets = []
    with _configs(options.config_dir) as searchpath:
        for option in sorted(f.stem for f in (conf_dir() / "prompts").glob("*.yaml")):
            sets.append(make_job([f"prompts={option}"], searchpath).prompts)
    path = pack(folder, job, sets, out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; no images, no weights")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from magiqa.bundle import verify

    words, overrides = _words(options.args)
    if len(words) != 1:
        raise UserError(
            "verify: give one bundle: magiqa verify FILE dataset.root=DIR [backbone.checkpoint=FILE]"
        )
    seeds = [o.removeprefix("seed=") for o in overrides if o.startswith("seed=")]
    if seeds and not seeds[-1].isdigit():
        raise UserError(f"verify: seed={seeds[-1]} must be a whole number")
    with _configs(options.config_dir) as searchpath:
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

    with _configs(options.config_dir) as searchpath:
        job = make_job(options.args, searchpath)
    report = check(job.dataset)
    print(render(report))
    return 0 if report.usable else 2


def _cache(options: argparse.Namespace) -> int:
    from magiqa.cache import listing, prune, verify_shard
    from magiqa.job import default_cache_dir

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
        key = row["key"]
        what = (
            f"weights {key['weights_sha256'][:12]}, {key['engine']} {key['precision']}, views "
            f"{'+'.join(key['views']['kinds'])}, positional embedding {key['positional_embedding']}"
            if key
            else "no key.json: written by something else, or cut short"
        )
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
    "explain": _explain,
    "report": _report,
    "pack": _pack,
    "verify": _verify,
    "check": _check,
    "cache": _cache,
}


def one_line(error: BaseException) -> str:
    """An error's message on one line; the user's mistake behind a Hydra error where there is one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(cause or error).split())
    return text if isinstance(cause, UserError) or text else type(error).__name__


def _is_users(error: BaseException) -> bool:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, UserError | HydraException | OmegaConfBaseException)


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
            from omegaconf import OmegaConf

            with _configs(options.config_dir) as searchpath:
                print(OmegaConf.to_yaml(compose(options.args, searchpath)[0]), end="")
            return 0
        return COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print(
            "magiqa: stopped; what was encoded is cached: the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or not _is_users(error):
            raise
        print(f"magiqa: {one_line(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
