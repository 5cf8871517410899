"""The commands that wrote results, from their records."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from magiqa.errors import printable
from magiqa.package import conf_dir
from magiqa.runs.config import MACHINE, PARTS, PLACES
from magiqa.runs.external_scores import Metric
from magiqa.runs.names import slug

HEAD = """#!/bin/sh
# The commands behind this folder's numbers, from the records of the results.
# Set where each data set and file lies, then run this file: ./reproduce.sh
set -e
"""

GROUPS = ("dataset", "backbone", "prompts", "views", "magnitude", "fusion")
STUDIES = ("ablation", "experiment")

# a command takes keys of a method and of its statistics from a record, and no key of a machine, path, class or Hydra
_SCIENCE = {f.name for part in PARTS.values() for f in fields(part)} - {*MACHINE, *GROUPS}
_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_ELSEWHERE = {*PLACES, "outside_root"}
_OPTION = re.compile(r"\w[\w.+-]*", re.ASCII)
_CLASSES = ("magiqa.images.views.Resize",)

Record = Mapping[str, Any]


@dataclass
class Places:
    """Variables of the shell for what lies elsewhere on every machine.

    Example:
        >>> places = Places()
        >>> places.of("koniq", "root", "/a"), places.of("koniq", "root", "/b"), places.of("koniq", "root", "/a")
        ('"$KONIQ_ROOT"', '"$KONIQ_ROOT_2"', '"$KONIQ_ROOT"')
    """

    found: dict[tuple[str, str], str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def of(self, stem: str, kind: str, path: str, what: str = "") -> str:
        """The variable of a path, quoted for the shell.

        Args:
            stem, kind: make its name. what: is said where it is not set.
        """
        name = re.sub(r"[^A-Z0-9]", "_", f"{stem}_{kind}".upper())
        name = f"_{name}" if name[0].isdigit() else name
        if (name, path) not in self.found:
            count = sum(known == name for known, _ in self.found)
            self.found[name, path] = f"{name}_{count + 1}" if count else name
            said = re.sub(
                r"[^\w .,:-]", "_", what or f"the {kind} of {stem}", flags=re.ASCII
            )  # whoever wrote it
            self.lines.append(f': "${{{self.found[name, path]}:?{said}}}"')
        return f'"${self.found[name, path]}"'


def script(made: Mapping[Path, Record], final: Sequence[str], metrics: Sequence[Path] = ()) -> str:
    """A shell script.

    Args:
        made: folders of results and their records, in order. final: more words of the last command.
        metrics: CSVs of other programs' scores that it takes.
    """
    places = Places()
    outs: dict[str, str] = {}
    swept = {part["name"] for r in made.values() for part in _parts(r)}
    body = []
    for k, (folder, record) in enumerate(made.items()):
        if record.get("name") in swept:  # the command that left one data set out makes it too
            continue
        name = re.sub(r"-[0-9a-f]{8}$", "", str(record.get("name") or record.get("command")))
        out = f"reproduced/{k + 1}-{slug(name)}"
        body.append(command(record, out, outs, places))
        if not body[-1].startswith("#"):
            outs[str(folder.absolute())] = out
    words = [*map(shlex.quote, outs.values()), *(_csv(file, places) for file in metrics), *final]
    body.append(" ".join(["magiqa paper", *words, "out=reproduced/paper"]))
    versions = sorted({str(r["magiqa"]) for r in made.values() if r.get("magiqa")})
    lines = [
        *places.lines,
        "",
        *(_comment(f"made by magiqa {version}") for version in versions),
        *_own(made.values()),
    ]
    return HEAD + "\n".join([*lines, *body]) + "\n"


def command(record: Record, out: str, outs: Mapping[str, str], places: Places) -> str:
    """One command; a comment where the record does not hold what it would need.

    Args:
        record: of a result. out: its folder to be. outs: the folders to be of results made before. places: is given
            what must be set.

    Example:
        >>> command({"command": "evaluate", "choices": {"dataset": "koniq", "backbone": "rn50"},
        ...          "changed": {"fusion.alpha": 2}, "dataset": {"root": "/x"}}, "r", {}, Places())
        'magiqa evaluate dataset=koniq backbone=rn50 fusion.alpha=2 dataset.root="$KONIQ_ROOT" out=r'
    """
    name, parts = str(record.get("command")), _parts(record)
    if name == "compare" and record.get("score"):
        words = _compared(record, outs, places)
        if words:
            return " ".join(["magiqa compare", *words, f"out={shlex.quote(out)}"])
    foreign = [word for one in (record, *parts) for word in _foreign(one)]
    if foreign:
        said = f"its record holds {foreign[0][:80]!r}, which is no value of magiqa's own keys"
        return _comment(f"{name} {record.get('name', '')}: {said}")
    if name == "ablate -m" and parts:
        sets = ",".join(dict.fromkeys(str(part["choices"]["dataset"]) for part in parts))
        words = [f"dataset={sets}", *_words(parts[0])[1:]]
        words += dict.fromkeys(_root(part, places, "roots.{}") for part in parts if _rooted(part))
        return " ".join(["magiqa ablate -m", *words, f"out={shlex.quote(out)}"])
    if name not in ("evaluate", "ablate", "experiment") or not isinstance(record.get("choices"), Mapping):
        return _comment(f"{name} {record.get('name', '')}: see its record; its command is not in it")
    words = [*_words(record), *_lying(record, places)]
    return " ".join(["magiqa", name, *words, f"out={shlex.quote(out)}"])


def _comment(text: str) -> str:
    """A comment of one line, whatever the record holds."""
    return "# " + " ".join(printable(text).split())


def _foreign(record: Record) -> list[str]:
    """Return what a record holds that could do more than set a value of its method."""
    choices, changed, study = record.get("choices") or {}, record.get("changed") or {}, _study(record)
    options = [*choices.values(), *(study[key] for key in STUDIES if key in study)]
    out = [str(option) for option in options if not _OPTION.fullmatch(str(option))]
    keys = [key for key in changed if not _sets_method(key)]
    keys += [key for key in study if key not in STUDIES and not _sets_study(key)]
    values = [value for key, value in changed.items() if key != "backbone.name"]
    return out + keys + [word for value in (*values, *study.values()) for word in _foreign_words(value)]


def _sets_method(key: str) -> bool:
    group, _, name = key.partition(".")
    return key in _SCIENCE or (group in GROUPS and _plain_key(name))


def _sets_study(key: str) -> bool:
    group, _, name = key.removeprefix("+").partition(".")
    return group in STUDIES and _plain_key(name)


def _plain_key(key: str) -> bool:
    """Return whether a key names neither a place, nor a setting of a machine, nor a class."""
    parts = key.split(".")
    return (
        bool(_KEY.fullmatch(key))
        and parts[0] not in {*MACHINE, "hydra"} - {"name"}
        and parts[-1] not in _ELSEWHERE
    )


def _foreign_words(value: Any) -> list[str]:
    """Return keys, classes and texts within a value that are not plain: a reference, a folder or a hub's name."""
    out: list[str] = []
    if isinstance(value, Mapping):
        for key, inner in value.items():
            plain = inner in _CLASSES if key == "_target_" else _plain_key(str(key))
            out += ([] if plain else [str(inner if key == "_target_" else key)]) + _foreign_words(inner)
    elif isinstance(value, list | tuple):
        out = [word for inner in value for word in _foreign_words(inner)]
    elif isinstance(value, str) and ("${" in value or re.match(r"(hf-hub|local-dir):", value)):
        out = [value]
    return out


def _study(record: Record) -> dict[str, Any]:
    """The study's option and what was changed of it; of a record that does not say so, its name."""
    command = record.get("command")
    named = {"ablate": "ablation", "experiment": "experiment"}.get(str(command), "")
    about = record.get(named) if named else None
    return dict(record.get("study") or ({named: about["name"]} if about else {}))


def _parts(record: Record) -> list[Record]:
    """The ablations behind a table of one data set left out; none where their records do not say how they were made."""
    parts = list(record.get("parts") or [])
    return parts if all(part["choices"].get("dataset") for part in parts) else []


def _words(record: Record) -> list[str]:
    """Options, the study, and what was changed of both."""
    words = [f"{group}={record['choices'][group]}" for group in GROUPS if record["choices"].get(group)]
    study = _study(record)
    changed = {
        k: v for k, v in (record.get("changed") or {}).items() if k != "backbone.name" or ":" not in str(v)
    }
    return words + [shlex.quote(f"{key}={typed(value)}") for key, value in (study | changed).items()]


def _lying(record: Record, places: Places) -> list[str]:
    """Return the words that name the places of images, annotation and weights."""
    words = [_root(record, places)] if _rooted(record) else []
    config, choices = record.get("config") or {}, record["choices"]
    annotation = str((config.get("dataset") or {}).get("annotation") or "labels.csv")
    if not re.fullmatch(r"[^~/\\:$][^/\\:$]*", annotation):
        words.append(f"dataset.annotation={places.of(choices['dataset'], 'annotation', annotation)}")
    elif annotation != "labels.csv":
        words.append(shlex.quote(f"dataset.annotation={annotation}"))
    if split := (config.get("dataset") or {}).get("split_file"):
        words.append(f"dataset.split_file={places.of(choices['dataset'], 'split_file', str(split))}")
    bone = config.get("backbone") or {}
    if bone.get("checkpoint"):
        place = places.of(choices["backbone"], "checkpoint", str(bone["checkpoint"]))
        words.append(f"backbone.checkpoint={place}")
    name = str(bone.get("name", ""))
    if ":" in name:
        said = f"hf-hub:NAME or local-dir:FOLDER of the backbone, if you trust it; the record says {name}"
        words.append(f"backbone.name={places.of(choices['backbone'], 'name', name, said)}")
    return words


def _compared(record: Record, outs: Mapping[str, str], places: Places) -> list[str]:
    """The words of a comparison; none where a run is not among the results made before."""
    words = []
    for method in record.get("methods") or []:
        source = Path(str(method.get("source")))
        if source.suffix == ".csv":
            words.append(_csv(Path(f"{source}{method.get('choice') or ''}"), places))
        else:
            words.append(shlex.quote(outs.get(str(source.absolute()), "")))
    if not words or "''" in words:
        return []
    options = [shlex.quote(f"{key}={record[key]}") for key in ("score", "equivalence") if key in record]
    return [*dict.fromkeys(words), *options]


def _csv(file: Path, places: Places) -> str:
    metric = Metric.of(file)
    what = f"the file {metric.file.name}: image,score of another program"
    place = places.of(metric.file.stem, "csv", str(metric.file.absolute()), what)
    return place + (shlex.quote(metric.choice) if metric.choice else "")


def _own(records: Collection[Record]) -> list[str]:
    """Return notes on what a stranger lacks: the user's own options and classes."""
    lines = []
    for record in records:
        for group, option in {**(record.get("choices") or {}), **(record.get("study") or {})}.items():
            if group not in (*GROUPS, "ablation", "experiment"):
                continue
            if not _OPTION.fullmatch(str(option)) or not (conf_dir() / group / f"{option}.yaml").is_file():
                said = f"{group}={option} is not magiqa's own: its file is ./conf/{group}/{option}.yaml"
                lines.append(_comment(said))
        for name, version in (record.get("versions") or {}).items():
            if str(version).startswith("sha256 "):
                lines.append(_comment(f"needs the module {name}, {version}"))
    return list(dict.fromkeys(lines))


def typed(value: Any) -> str:
    r"""A value as an override takes it.

    Example:
        >>> typed({"magnitude.lam": {"start": -1.0}}), typed(["a b", True, None]), typed("official")
        ('{magnitude.lam:{start:-1.0}}', "['a b',true,null]", 'official')
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{typed(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(typed, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if re.fullmatch(r"[A-Za-z_][\w./+-]*", text) and text.lower() not in (
        "true",
        "false",
        "null",
        "inf",
        "nan",
    ):
        return text
    # within quotes, a backslash counts before a quote alone
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", text)) + "'"


def _rooted(record: Record) -> bool:
    return bool((record.get("dataset") or {}).get("root")) and record["choices"].get("dataset") != "sample"


def _root(record: Record, places: Places, key: str = "dataset.root") -> str:
    """Options of one set share its root."""
    chosen = str(record["choices"].get("dataset") or "dataset").partition("_")[0]
    what = f"the folder of the data set {chosen}"
    return f"{key.format(chosen)}={places.of(chosen, 'root', str(record['dataset']['root']), what)}"
