"""The commands that wrote results, from their records."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magiqa.errors import printable
from magiqa.runs.config import MACHINE
from magiqa.runs.names import slug

HEAD = """#!/bin/sh
# The commands behind this folder's numbers, from the records of the results.
# Set where each data set lies, then run this file: ./reproduce.sh
set -e
"""

# keys, options and words that can do no more than set a value: no _target_, no path, nothing of Hydra's
_KEY = re.compile(r"(?!hydra\b)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_OPTION = re.compile(r"\w[\w.+-]*", re.ASCII)
_WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_][\w.+/-]*", re.ASCII | re.IGNORECASE)

GROUPS = ("dataset", "backbone", "prompts", "views", "magnitude", "fusion")


def script(made: Mapping[Path, Mapping[str, Any]], final: str) -> str:
    """A shell script.

    Args:
        made: folders of results and their records, in order. final: more words for the last command.
    """
    records = list(made.values())
    roots = sorted({_root(r) for r in records if _rooted(r)})
    lines = [HEAD + "\n".join(f': "${{{root}:?the folder of this data set}}"' for root in roots), ""]
    lines += [
        _comment(f"made by magiqa {version}") for version in sorted({str(r.get("magiqa")) for r in records})
    ]
    outs: dict[str, str] = {}
    for k, (folder, record) in enumerate(made.items()):
        name = re.sub(r"-[0-9a-f]{8}$", "", str(record.get("name") or record.get("command")))
        out = f"reproduced/{k + 1}-{slug(name)}"
        lines.append(command(record, out, outs))
        if not lines[-1].startswith("#"):
            outs[str(folder.absolute())] = out
    folders = " ".join(map(shlex.quote, outs.values()))
    lines.append(" ".join(filter(None, ("magiqa paper", folders, final, "out=reproduced/paper"))))
    return "\n".join(lines) + "\n"


def command(record: Mapping[str, Any], out: str, outs: Mapping[str, str] | None = None) -> str:
    """One command; a comment where the record does not hold what it would need.

    Args:
        record: of a result. out: its folder to be. outs: the folders to be of results made before.

    Example:
        >>> command({"command": "evaluate", "choices": {"dataset": "koniq", "backbone": "rn50"},
        ...          "changed": {"fusion.alpha": 2}, "dataset": {"root": "/x"}}, "r")
        'magiqa evaluate dataset=koniq backbone=rn50 fusion.alpha=2 dataset.root="$KONIQ_ROOT" out=r'
    """
    name, choices, changed = str(record.get("command")), record.get("choices"), record.get("changed") or {}
    sources = [str(Path(str(m.get("source"))).absolute()) for m in record.get("methods") or []]
    if name == "compare" and record.get("score") and sources and all(s in (outs or {}) for s in sources):
        words = [*dict.fromkeys((outs or {})[s] for s in sources), f"score={record['score']}"]
        words += [f"{key}={record[key]}" for key in ("resamples", "seed") if key in record]
        return " ".join(["magiqa compare", *map(shlex.quote, words), f"out={shlex.quote(out)}"])
    if name not in ("evaluate", "ablate", "experiment") or not isinstance(choices, Mapping):
        return _comment(f"{name} {record.get('name', '')}: see its record; its command is not in it")
    foreign = [key for key in changed if not _KEY.fullmatch(key) or key.partition(".")[0] in MACHINE]
    foreign += [option for option in choices.values() if not _OPTION.fullmatch(str(option))]
    foreign += [value for value in changed.values() if isinstance(value, Mapping)]
    if foreign:
        said = f"its record holds {str(foreign[0])[:80]!r}, which is no value of magiqa's keys"
        return _comment(f"{name} {record.get('name', '')}: {said}")
    words = [f"{group}={choices[group]}" for group in GROUPS if choices.get(group)]
    study = {"ablate": "ablation", "experiment": "experiment"}.get(name)
    if study:
        words.append(f"{study}={(record.get(study) or {}).get('name')}")
    words += [f"{key}={_value(value)}" for key, value in changed.items()]
    words = [shlex.quote(word) for word in words]  # whoever wrote the record, it runs nothing else
    if _rooted(record):
        words.append(f'dataset.root="${_root(record)}"')
    return " ".join(["magiqa", name, *words, f"out={shlex.quote(out)}"])


def _comment(text: str) -> str:
    """A comment of one line, whatever the record holds."""
    return "# " + " ".join(printable(text).split())


def _value(value: Any) -> str:
    """A value as the command line takes it; text that could be read as more than text in quotes."""
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return value if _WORD.fullmatch(value) else f"'{quoted}'"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value, value))}]"
    return json.dumps(value)


def _rooted(record: Mapping[str, Any]) -> bool:
    data = record.get("dataset") or {}
    return bool(data.get("root")) and (record.get("choices") or {}).get("dataset") != "sample"


def _root(record: Mapping[str, Any]) -> str:
    chosen = str((record.get("choices") or {}).get("dataset") or "DATASET").partition("_")[0]
    return re.sub(r"[^A-Z0-9]", "_", chosen.upper()) + "_ROOT"
