"""The commands that wrote results, from their records.

A command takes from a record only the keys of a method and of its statistics. A key of a machine, a path, a class or a
reference makes the command a comment. The script asks for every folder, file and backbone that lies elsewhere.
"""

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
from magiqa.runs.read import slug

HEAD = """#!/bin/sh
# The commands behind this folder's numbers, from the records of the results.
# Set where each data set and file lies, then run this file: ./reproduce.sh
set -e
"""

GROUPS = ("dataset", "backbone", "prompts", "views", "magnitude", "fusion")
STUDIES = {"ablate": "ablation", "experiment": "experiment"}

_MACHINE = {*MACHINE, "hydra"} - {"name"}
_SCIENCE = {f.name for part in PARTS.values() for f in fields(part)} - {*MACHINE, *GROUPS}
_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
REFERENCES = "experiment.statistics_from"  # the place of an experiment's reference images

_OPTION = re.compile(r"\w[\w.+-]*", re.ASCII)
_RESIZE = "magiqa.images.views.Resize"  # the one class that a value may name

Record = Mapping[str, Any]


@dataclass
class Places:
    """Variables of the shell for what lies elsewhere on every machine.

    Args:
        paths: by variable. lines: of the script, which stop it where a variable is not set.

    Example:
        >>> places = Places()
        >>> places.of("koniq", "root", "/a"), places.of("koniq", "root", "/b"), places.of("koniq", "root", "/a")
        ('"$KONIQ_ROOT"', '"$KONIQ_ROOT_2"', '"$KONIQ_ROOT"')
    """

    paths: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def of(self, stem: str, kind: str, path: object, meaning: str = "") -> str:
        """Return the variable of a path, quoted for the shell.

        Args:
            stem, kind: make its name. meaning: is printed where it is not set.
        """
        name = re.sub(r"^(?=\d)|[^A-Z0-9]", "_", f"{stem}_{kind}".upper())
        names = [name, *(f"{name}_{k}" for k in range(2, len(self.paths) + 2))]
        name = next(n for n in names if self.paths.get(n, str(path)) == str(path))
        if name not in self.paths:
            self.paths[name] = str(path)
            words = re.sub(r"[^\w .,:-]", "_", meaning or f"the {kind} of {stem}", flags=re.ASCII)
            self.lines.append(f': "${{{name}:?{words}}}"')
        return f'"${name}"'

    def csv(self, file: Path) -> str:
        """Return the variable of another program's CSV, with the column that is chosen of it."""
        metric = Metric.of(file)
        meaning = f"the file {metric.file.name}: image,score of another program"
        place = self.of(metric.file.stem, "csv", metric.file.absolute(), meaning)
        return place + (shlex.quote(metric.choice) if metric.choice else "")

    def root(self, record: Record) -> list[str]:
        """Return the word that sets a data set's root; options of one set share it."""
        chosen = str(record["choices"].get("dataset") or "dataset").partition("_")[0]
        root = (record.get("dataset") or {}).get("root")
        if not root or chosen == "sample":
            return []
        return [f"dataset.root={self.of(chosen, 'root', root, f'the folder of the data set {chosen}')}"]


def script(made: Mapping[Path, Record], final: Sequence[str], metrics: Sequence[Path] = ()) -> str:
    """Return a shell script.

    Args:
        made: folders of results and their records, in order. final: more words of the last command.
        metrics: CSVs of other programs' scores that it takes.
    """
    places, outs, body = Places(), dict[str, str](), []
    for k, (folder, record) in enumerate(made.items()):
        name = re.sub(r"-[0-9a-f]{8}$", "", str(record.get("name") or record.get("command")))
        out = f"reproduced/{k + 1}-{slug(name)}"
        body.append(command(record, out, outs, places))
        if not body[-1].startswith("#"):
            outs[str(folder.absolute())] = out
    words = [*map(shlex.quote, outs.values()), *map(places.csv, metrics), *final]
    versions = sorted({f"made by magiqa {r['magiqa']}" for r in made.values() if r.get("magiqa")})
    notes = [note for record in made.values() for note in _own(record)]
    comments = [_comment(text) for text in dict.fromkeys([*versions, *notes])]
    last = " ".join(["magiqa paper", *words, "out=reproduced/paper"])
    return HEAD + "\n".join([*places.lines, "", *comments, *body, last]) + "\n"


def command(record: Record, out: str, outs: Mapping[str, str], places: Places) -> str:
    """Return one command; a comment where the record does not hold what it would need.

    Args:
        record: of a result. out: its folder to be. outs: the folders to be of results made before. places: gets the
            paths that must be set.

    Example:
        >>> command({"command": "evaluate", "choices": {"dataset": "koniq", "backbone": "rn50"},
        ...          "changed": {"fusion.alpha": 2}, "dataset": {"root": "/x"}}, "r", {}, Places())
        'magiqa evaluate dataset=koniq backbone=rn50 fusion.alpha=2 dataset.root="$KONIQ_ROOT" out=r'
    """
    name, foreign, words = str(record.get("command")), _foreign(record), list[str]()
    if name == "compare":
        words = _compared(record, outs, places)
    elif foreign:
        reason = f"its record holds {foreign[0][:80]!r}, which is no value of magiqa's own keys"
        return _comment(f"{name} {record.get('name', '')}: {reason}")
    elif name in ("evaluate", *STUDIES) and record.get("choices"):
        words = [*_words(record), *places.root(record), *_elsewhere(record, places)]
    if not words:
        return _comment(f"{name} {record.get('name', '')}: see its record; its command is not in it")
    return " ".join(["magiqa", name, *words, f"out={shlex.quote(out)}"])


def _comment(text: str) -> str:
    """Return a comment of one line, whatever the record holds."""
    return "# " + " ".join(printable(text).split())


def _study(record: Record) -> dict[str, Any]:
    """Return the study's option and its changes; of a record that does not hold them, its name."""
    group = STUDIES.get(str(record.get("command")), "")
    about = record.get(group) if group else None
    study = dict(record.get("study") or ({group: about["name"]} if about else {}))
    return {key: value for key, value in study.items() if key != REFERENCES}


def _changed(record: Record) -> dict[str, Any]:
    """Return the changes of options; the name of a backbone that lies elsewhere is asked for."""
    changed = record.get("changed") or {}
    return {k: v for k, v in changed.items() if k != "backbone.name" or ":" not in str(v)}


def _words(record: Record) -> list[str]:
    """Return the options, the study, and the changes of both."""
    words = [f"{group}={record['choices'][group]}" for group in GROUPS if record["choices"].get(group)]
    changes = _study(record) | _changed(record)
    return words + [shlex.quote(f"{key}={typed(value)}") for key, value in changes.items()]


def _foreign(record: Record) -> list[str]:
    """Return all in a record that could do more than set a value of its method."""
    changed, study = _changed(record), _study(record)
    options = {**(record.get("choices") or {}), **{k: study.pop(k) for k in STUDIES.values() if k in study}}
    out = [str(option) for option in options.values() if not _OPTION.fullmatch(str(option))]
    out += [key for key in changed if key not in _SCIENCE and not _plain(key, GROUPS)]
    out += [key for key in study if not _plain(key.removeprefix("+"), STUDIES.values())]
    return out + [word for value in (*changed.values(), *study.values()) for word in _foreign_words(value)]


def _plain(key: str, groups: Collection[str] = ()) -> bool:
    """Return whether a key, of one of the groups, names neither a place, nor a setting of a machine, nor a class."""
    parts = key.split(".")
    science = len(parts) > 1 and parts[0] in groups if groups else parts[0] not in _MACHINE
    return science and bool(_KEY.fullmatch(key)) and parts[-1] not in {*PLACES, "outside_root"}


def _foreign_words(value: Any) -> list[str]:
    """Return keys, classes and texts within a value that are not plain: a reference, a folder or a hub's name."""
    if isinstance(value, Mapping):
        keys = [
            str(k) for k, inner in value.items() if not _plain(str(k)) and (k, inner) != ("_target_", _RESIZE)
        ]
        return keys + [word for inner in value.values() for word in _foreign_words(inner)]
    if isinstance(value, list | tuple):
        return [word for inner in value for word in _foreign_words(inner)]
    return [str(value)] if re.search(r"\$\{|^(hf-hub|local-dir):", str(value)) else []


def _elsewhere(record: Record, places: Places) -> list[str]:
    """Return the words that name the places of annotation, split, weights and reference images."""
    config, choices = record.get("config") or {}, record["choices"]
    data, bone = (dict(config.get(group) or {}) for group in ("dataset", "backbone"))
    annotation, words = str(data.get("annotation") or "labels.csv"), []
    if annotation != "labels.csv" and re.fullmatch(r"[^~/\\:$]+", annotation):  # a file below the root
        words.append(shlex.quote(f"dataset.annotation={data.pop('annotation')}"))
    elif annotation == "labels.csv":
        data.pop("annotation", None)
    for group, part, keys in (
        ("dataset", data, ("annotation", "split_file")),
        ("backbone", bone, ("checkpoint",)),
        ("magnitude", config.get("magnitude") or {}, ("statistics_from",)),
        (
            "experiment",
            {"statistics_from": (record.get("study") or {}).get(REFERENCES)},
            ("statistics_from",),
        ),
    ):
        words += [
            f"{group}.{key}={places.of(choices.get(group, group), key, part[key])}"
            for key in keys
            if part.get(key)
        ]
    if ":" in (name := str(bone.get("name", ""))):
        meaning = f"hf-hub:NAME or local-dir:FOLDER of the backbone, if you trust it; the record says {name}"
        words.append(f"backbone.name={places.of(choices['backbone'], 'name', name, meaning)}")
    return words


def _compared(record: Record, outs: Mapping[str, str], places: Places) -> list[str]:
    """Return the words of a comparison; none where a run is not among the results made before."""
    words = []
    for method in record.get("methods") or []:
        source = Path(str(method.get("source")))
        if source.suffix == ".csv":
            words.append(places.csv(Path(f"{source}{method.get('choice') or ''}")))
        elif str(source.absolute()) in outs:
            words.append(shlex.quote(outs[str(source.absolute())]))
        else:
            return []
    options = {key: record[key] for key in ("score", "equivalence") if key in record}
    if not words or _foreign_words(options):
        return []
    return [*dict.fromkeys(words), *(shlex.quote(f"{key}={value}") for key, value in options.items())]


def _own(record: Record) -> list[str]:
    """Return notes on what a stranger lacks: the user's own options and classes."""
    options = {**(record.get("choices") or {}), **(record.get("study") or {})}
    files = {f"{group}={option}": f"{group}/{option}.yaml" for group, option in options.items()
             if group in (*GROUPS, *STUDIES.values())}  # fmt: skip
    notes = [f"{word} is not magiqa's own: its file is ./conf/{file}" for word, file in files.items()
             if ".." in file or not (conf_dir() / file).is_file()]  # fmt: skip
    versions = (record.get("versions") or {}).items()
    return notes + [f"needs the module {n}, {v}" for n, v in versions if str(v).startswith("sha256 ")]


def typed(value: Any) -> str:
    r"""Return a value as an override takes it.

    Example:
        >>> typed({"magnitude.lam": {"start": -1.0}}), typed(["a b", True, None]), typed("official")
        ('{magnitude.lam:{start:-1.0}}', "['a b',true,null]", 'official')
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{typed(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(typed, value)) + "]"
    if value is None or isinstance(value, bool | int | float):
        return "null" if value is None else str(value).lower()
    if re.fullmatch(r"(?!(true|false|null|inf|nan)$)[A-Za-z_][\w./+-]*", str(value), re.IGNORECASE):
        return str(value)
    # within quotes, a backslash counts before a quote alone
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", str(value))) + "'"
