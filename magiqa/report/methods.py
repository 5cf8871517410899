"""The names of methods and results: one function names methods for tables, figures, captions and the page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from magiqa.method.presets import presets
from magiqa.report.words import SCORES, backbone_name, option_name, set_key, set_line, set_name
from magiqa.runs.names import CONTROLS, option, pooling
from magiqa.runs.read import Run

Record = Mapping[str, Any]

_PARTS = {
    "q_sim": ("prompts", "views", "pooling", "positional embedding"),
    "q_mag": ("magnitude", "views", "pooling", "positional embedding"),
    "q": ("fusion", "prompts", "views", "magnitude", "pooling", "positional embedding"),
}

_WORDS = {
    "fusion": "{} fusion",
    "prompts": "{} prompts",
    "views": "{} views",
    "magnitude": "{}",
    "pooling": "{} pooling",
    "positional embedding": "positional embedding {}",
}


def _parts(record: Record, score: str) -> dict[str, str]:
    """Return what makes a score, by config group; empty for a part that is as by default."""
    kept = str((record.get("backbone") or {}).get("positional_embedding", "drop"))
    values = {
        group: option_name(option(record, group)) for group in ("fusion", "prompts", "views", "magnitude")
    }
    values |= {
        "pooling": pooling(record.get("config") or {}),
        "positional embedding": "" if kept == "drop" else kept,
    }
    return {group: values[group] for group in _PARTS.get(score, ()) if values[group]}


def _paper_name(record: Record, score: str) -> str:
    """Return the name of a paper's own method; empty for any other."""
    parts, choices, changed = _parts(record, score), record.get("choices", {}), record.get("changed", {})
    groups = ("backbone", *_PARTS.get(score, ()))
    for preset in presets().values():
        own = primary({"choices": preset.options}) == score and not preset.changes(choices, changed, groups)
        if own and "pooling" not in parts and (preset.weights or "positional embedding" not in parts):
            return preset.title
    return ""


def _kind(record: Record, score: str) -> str:
    if score == "q":
        fusion = _parts(record, score).get("fusion", "fused")
        return f"{fusion[:1].upper()}{fusion[1:]} fusion"
    return {"q_sim": "Similarity", "q_mag": "Magnitude"}.get(score, CONTROLS.get(score, score))


def primary(record: Record) -> str:
    """Return the score that a run is about: one cue where the fusion takes that alone, else the fused score."""
    fusion = str((record.get("choices") or {}).get("fusion"))
    return {"similarity": "q_sim", "magnitude": "q_mag"}.get(fusion, "q")


def method_name(record: Record, score: str) -> str:
    """Return a method's name with all that makes it.

    Example:
        >>> choices = {"prompts": "clipiqa", "views": "whole", "fusion": "fixed", "magnitude": "l2"}
        >>> method_name({"choices": choices}, "q_sim"), method_name({"choices": choices}, "q")
        ('CLIP-IQA', 'Fixed fusion (CLIP-IQA prompts; whole views; L2 norm)')
    """
    if name := _paper_name(record, score):
        return name
    parts = [_WORDS[g].format(v) for g, v in _parts(record, score).items() if g != "fusion"]
    return f"{_kind(record, score)} ({'; '.join(parts)})" if parts else _kind(record, score)


def method_names(
    rows: Sequence[tuple[str, Record, str]], names: Mapping[str, str] | None = None
) -> list[str]:
    """Return the names of an exhibit's methods: what each is, and what differs between them.

    Args:
        rows: the run's name, its record and the score.
        names: the user's own names by run. They go before the run's own key ``name``.

    Example:
        >>> a = {"choices": {"prompts": "maclip", "views": "maclip", "magnitude": "boxcox", "fusion": "adaptive"}}
        >>> b = {"choices": {**a["choices"], "prompts": "clipiqa", "fusion": "fixed"}}
        >>> method_names([("a", a, "q"), ("b", b, "q"), ("b", b, "q_mag"), ("a", a, "bytes")])
        ['MA-CLIP', 'Fixed fusion (CLIP-IQA prompts)', 'Magnitude', 'file bytes (control)']
        >>> method_names([("a", a, "q"), ("b", b, "q"), ("b", b, "q_sim")], {"b": "Ours"})
        ['MA-CLIP', 'Ours', 'Ours, similarity']
    """
    every = [_parts(record, score) for _, record, score in rows]
    differing = set()
    for group in _WORDS:
        inner = [(p, s) for p, (_, r, s) in zip(every, rows, strict=True) if not r.get("external")]
        values = {p.get(group, "") for p, s in inner if group in _PARTS.get(s, ())}
        differing |= {group} if len(values) > 1 else set()
    out = []
    for parts, (run, record, score) in zip(every, rows, strict=True):
        external = record.get("external")
        config = record.get("config") or {}
        own = (names or {}).get(run) or str(config.get("name") or "")
        kind = _kind(record, score)
        if external:
            out.append((names or {}).get(str(external["method"])) or str(external["method"]))
        elif score in CONTROLS:
            out.append(kind)
        elif own:
            out.append(
                own if score == primary(record) else f"{own}, {'fused' if score == 'q' else kind.lower()}"
            )
        elif paper := _paper_name(record, score):
            out.append(paper)
        else:
            more = [_WORDS[g].format(v) for g, v in parts.items() if g in differing and g != "fusion"]
            out.append(f"{kind} ({'; '.join(more)})" if more else kind)
    return out


def measurements(runs: Sequence[Run], names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return every statistic of every run, a row each, with the names of method, backbone and data set.

    Rows that show the same thing twice are left out: a fused score that equals one cue, a cue that two runs share.
    """
    parts = []
    # of runs that share a score, the run that is about it shows it
    for run in sorted(runs, key=lambda run: primary(run.record) == "q"):
        table = run.agreement
        for cue in ("q_sim", "q_mag"):
            if np.array_equal(run.scores["q"], run.scores[cue]):
                table = table[table["score"] != "q"]
        head = pd.DataFrame(
            {"set": set_key(run.record["dataset"]), "label": run.label, "run": run.name}, table.index
        )
        parts.append(pd.concat([head, table], axis=1))
    rows = pd.concat(parts, ignore_index=True)
    records = {run.name: run.record for run in runs}
    keys = list(dict.fromkeys(zip(rows["run"], rows["score"], strict=True)))
    named = method_names([(run, records[run], score) for run, score in keys], names)
    name_of = dict(zip(keys, named, strict=True))
    rows.insert(3, "method", [name_of[key] for key in zip(rows["run"], rows["score"], strict=True)])
    own = ~rows["score"].isin(list(CONTROLS))
    bones = {name: backbone_name(record["backbone"]) for name, record in records.items()}
    rows.insert(4, "backbone", np.where(own, rows["run"].map(bones), ""))
    place = {run.name: k for k, run in enumerate(runs)}
    rows = _once(rows).sort_values("run", key=lambda names: names.map(place), kind="stable")
    titles = set_titles([run.record["dataset"] for run in runs])
    rows.insert(0, "dataset", rows.pop("set").map(titles))
    return rows.reset_index(drop=True)


def _once(rows: pd.DataFrame) -> pd.DataFrame:
    """Drop a score whose values another run shows; add the run's name where two still have one name."""
    keys = ["set", "backbone", "score"]
    seen: dict[tuple[Any, ...], list[Any]] = {}
    for (_, *key), part in rows.groupby(["run", *keys], sort=False):
        values = tuple(zip(part["statistic"], part["value"].round(9).map(repr), strict=True))
        if values in seen.setdefault(tuple(key), []):
            rows = rows.drop(part.index)
        seen[tuple(key)].append(values)
    twice = rows.groupby([*keys, "method"])["run"].transform("nunique") > 1
    rows.loc[twice, "method"] = rows["method"] + " [" + rows["run"] + "]"
    return rows


def set_titles(sets: Sequence[Record]) -> dict[str, str]:
    """Return a title for each data set's key: its name, with the facts where two have one name."""
    titles = {set_key(data): set_name(data) for data in sets}
    twice = {title for title, count in Counter(titles.values()).items() if count > 1}
    facts = {set_key(data): set_line(data) for data in sets}
    return {key: facts[key] if title in twice else title for key, title in titles.items()}


_VARIED = {  # by an ablation's name
    "alpha": "α",
    "base": "difference of the bases",
    "lambda": "λ",
    "lambda_magnitude": "λ",
    "positional_embedding": "positional embedding",
}


def ablation_title(about: Record) -> str:
    """Return what an ablation varies, and the score where it is not the fused one.

    Example:
        >>> ablation_title({"name": "lambda_magnitude", "score": "q_mag"}), ablation_title({"name": "my_own"})
        ('λ, magnitude cue', 'My own')
    """
    name = str(about.get("name") or "variants")
    words = _VARIED.get(name, name.replace("_", " "))
    words = words[:1].upper() + words[1:] if len(words) > 1 else words
    score = str(about.get("score") or "q")
    return words if score == "q" or score not in SCORES else f"{words}, {SCORES[score]}"


def result_title(record: Record, stem: str) -> str:
    """Return a result's kind and data set, for headings.

    Args:
        stem: of the table's file.

    Example:
        >>> result_title({"command": "ablate", "dataset": {"name": "spaq"},
        ...               "ablation": {"name": "pairs", "score": "q_sim"}}, "ablation")
        'Ablation: Pairs, similarity cue, SPAQ'
    """
    command = str(record.get("command", "results"))
    if command == "ablate -m":
        return f"Ablation: {ablation_title({'name': stem.removesuffix('-left_out')})}, one data set left out"
    about = record.get({"ablate": "ablation"}.get(command, command))
    about = about if isinstance(about, Mapping) else {}
    words = {
        "ablate": f"Ablation: {ablation_title(about)}",
        "compare": "Methods compared",
        "experiment": f"Experiment: {str(about.get('name', '')).replace('_', ' ')}",
    }
    return ", ".join(filter(None, (words.get(command, command), set_name(record.get("dataset") or {}))))


def each_once(titles: Sequence[str], names: Sequence[str]) -> list[str]:
    """Add the results' own names to titles that are alike.

    Example:
        >>> each_once(["a", "b", "a"], ["x", "y", "z"])
        ['a [x]', 'b', 'a [z]']
    """
    return [f"{t} [{n}]" if list(titles).count(t) > 1 else t for t, n in zip(titles, names, strict=True)]
