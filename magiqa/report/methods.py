"""The names of methods and results, and the words on them that captions share.

One function names methods for tables, figures, captions and the page.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from magiqa.method.presets import presets
from magiqa.report.words import (
    BASES,
    SCORES,
    backbone_name,
    capital,
    group_word,
    option_name,
    own_weights,
    set_key,
    set_line,
    set_name,
    set_words,
    short_label,
)
from magiqa.runs.read import CONTROLS, Run, option, pooling

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

FEW = 200  # images on which the parameters of a fit are too many

FITS = {
    "logistic4": "4-parameter logistic",
    "official": "5-parameter logistic of MA-CLIP's code",
}


def _parts(record: Record, score: str) -> dict[str, str]:
    """Return what makes a score, by config group; a part that is as by default is left out."""
    parts = {
        group: option_name(option(record, group)) for group in ("fusion", "prompts", "views", "magnitude")
    }
    parts["pooling"] = pooling(record.get("config") or {})
    parts["positional embedding"] = (record.get("backbone") or {}).get("positional_embedding", "drop")
    return {g: parts[g] for g in _PARTS.get(score, ()) if parts[g] not in ("", "drop")}


def _kind(record: Record, score: str) -> str:
    if score == "q":
        fusion = _parts(record, score).get("fusion", "fused")
        return f"{fusion[:1].upper()}{fusion[1:]} fusion"
    return SCORES.get(score, score)


def primary(record: Record) -> str:
    """Return the score that a run is about: one cue where the fusion takes that alone, else the fused score."""
    fusion = "" if record.get("external") else str((record.get("choices") or {}).get("fusion"))
    return {"similarity": "q_sim", "magnitude": "q_mag"}.get(fusion, "q")


def method_name(record: Record, score: str, shown: Iterable[str] = _WORDS) -> str:
    """Return a method's name: that of a paper's own method, else its kind and its parts.

    Args:
        shown: parts to name, by config group.

    Example:
        >>> choices = {"prompts": "clipiqa", "views": "whole", "fusion": "fixed", "magnitude": "l2"}
        >>> method_name({"choices": choices}, "q_sim"), method_name({"choices": choices}, "q")
        ('CLIP-IQA', 'Fixed fusion (CLIP-IQA prompts; whole views; L2 norm)')
    """
    if title := _paper_title(record, score):
        return title
    parts = _parts(record, score)
    words = [
        _WORDS[group].format(value) for group, value in parts.items() if group in shown and group != "fusion"
    ]
    return f"{_kind(record, score)} ({'; '.join(words)})" if words else _kind(record, score)


def _paper_title(record: Record, score: str) -> str:
    """Return the title of a paper's own method; empty for any other."""
    parts, choices, changed = _parts(record, score), record.get("choices", {}), record.get("changed", {})
    groups = ("backbone", *_PARTS.get(score, ()))
    for preset in presets().values():
        own = primary({"choices": preset.options}) == score and not preset.changes(choices, changed, groups)
        if own and "pooling" not in parts and (preset.weights or "positional embedding" not in parts):
            return preset.title
    return ""


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
        ['MA-CLIP', 'Fixed fusion (CLIP-IQA prompts)', 'Magnitude cue', 'File size (control)']
        >>> method_names([("a", a, "q"), ("b", b, "q"), ("b", b, "q_sim")], {"b": "Ours"})
        ['MA-CLIP', 'Ours', 'Ours, similarity cue']
    """
    differing: dict[str, list[str]] = {score: [] for score in _PARTS}
    for group in _WORDS:
        for score in _PARTS:
            values = {_parts(r, s).get(group) for _, r, s in rows if s == score and not r.get("external")}
            differing[score] += [group] if len(values) > 1 else []
    out = []
    for run, record, score in rows:
        own = (names or {}).get(run) or str((record.get("config") or {}).get("name") or "")
        if record.get("external"):
            method = str(record["external"]["method"])
            out.append((names or {}).get(method, method))
        elif own and score not in CONTROLS:
            cue = SCORES[score].lower()
            out.append(own if score == primary(record) else f"{own}, {cue}")
        elif (whole := _paper_title(record, "q")) and score in ("q_sim", "q_mag"):
            out.append(f"{whole}, {SCORES[score].lower()}")
        else:
            out.append(method_name(record, score, differing.get(score, ())))
    return out


def measurements(runs: Sequence[Run], names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return every statistic of every run, a row each, with the names of method, backbone and data set.

    Rows that show the same thing twice are left out: a fused score that equals one cue, a cue that two runs share.
    """
    titles = set_titles([run.record["dataset"] for run in runs])
    seen: set[tuple[str, ...]] = set()
    parts: list[pd.DataFrame] = []
    keys = []
    # of runs that share a score, the run that is about it shows it
    for run in sorted(runs, key=lambda run: primary(run.record) == "q"):
        one_cue = any(np.array_equal(run.scores["q"], run.scores[cue]) for cue in ("q_sim", "q_mag"))
        for score, part in run.agreement.groupby("score", sort=False):
            key, bone = (
                set_key(run.record["dataset"]),
                "" if score in CONTROLS else backbone_name(run.record["backbone"]),
            )
            values = (key, bone, score, *part["statistic"], *part["value"].round(9).map(repr))
            about, cue = primary(run.record), score in ("q_sim", "q_mag")
            if values in seen or (one_cue and score == "q") or (cue and about not in ("q", score)):
                continue
            seen.add(values)
            keys.append((run.name, run.record, str(score)))
            head = {
                "dataset": titles[key],
                "label": run.label,
                "run": run.name,
                "method": len(parts),
                "backbone": bone,
            }
            parts.append(pd.concat([pd.DataFrame(head, part.index), part], axis=1))
    rows = pd.concat(parts, ignore_index=True)
    rows["method"] = rows["method"].map(dict(enumerate(method_names(keys, names))))
    twice = rows.groupby(["dataset", "backbone", "score", "method"])["run"].transform("nunique") > 1
    rows.loc[twice, "method"] = rows["method"] + " [" + rows["run"] + "]"
    place = {run.name: k for k, run in enumerate(runs)}
    return rows.sort_values("run", key=lambda names: names.map(place), kind="stable", ignore_index=True)


def set_titles(sets: Sequence[Record]) -> dict[str, str]:
    """Return a title for each data set's key: its name, with the facts where two have one name."""
    titles = {set_key(data): set_name(data) for data in sets}
    twice = {title for title, count in Counter(titles.values()).items() if count > 1}
    facts = {set_key(data): set_line(data) for data in sets}
    return {key: facts[key] if title in twice else title for key, title in titles.items()}


_VARIED = {  # by an ablation's name
    "alpha": "α",
    "base": BASES,
    "lambda": "λ",
    "lambda_magnitude": "λ",
    "magnitude": "definition of magnitude",
    "pairs": "prompt pairs",
}


def ablation_title(about: Record) -> str:
    """Return what an ablation varies, and the score where it is not the fused one.

    Example:
        >>> ablation_title({"name": "lambda_magnitude", "score": "q_mag"}), ablation_title({"name": "own_views"})
        ('λ (magnitude cue alone)', 'Own views')
    """
    name = str(about.get("name") or "variants")
    words = _VARIED.get(name, name.replace("_", " "))
    score = str(about.get("score") or "q")
    return capital(words) + (f" ({SCORES[score].lower()} alone)" if score in ("q_sim", "q_mag") else "")


def settings(record: Record, without: tuple[str, ...] = ("dataset", "backbone")) -> str:
    """Return the options that a record's method was composed of, as text to compare."""
    parts = [{k: v for k, v in (record.get(key) or {}).items() if not k.startswith(without)}
             for key in ("choices", "changed")]  # fmt: skip
    return json.dumps(parts, sort_keys=True, default=str)


def result_title(record: Record, stem: str) -> str:
    """Return a result's kind and data set, for headings.

    Args:
        stem: of the table's file.

    Example:
        >>> result_title({"command": "ablate", "dataset": {"name": "spaq"},
        ...               "ablation": {"name": "pairs", "score": "q_sim"}}, "ablation")
        'Ablation: Prompt pairs (similarity cue alone), SPAQ'
    """
    command = str(record.get("command", "results"))
    if command == "ablate -m":
        return f"Ablation: {ablation_title({'name': stem.removesuffix('-left_out')})}, one data set left out"
    about: Record = record.get({"ablate": "ablation"}.get(command, command)) or {}
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


def where(record: Record) -> str:
    """Return the data set and the backbone, for the end of a caption.

    Example:
        >>> where({"dataset": {"name": "agiqa3k", "n": 299, "every": 10, "label": "mos"},
        ...        "backbone": {"name": "demo", "label": "untrained, seed 0"}})
        'AGIQA-3K (299 images, one in 10). Backbone: demo (untrained, seed 0).'
    """
    data, bone = record.get("dataset") or {}, record.get("backbone") or {}
    weights = f"Backbone: {backbone_name(bone)}." if bone.get("name") or bone.get("label") else ""
    return " ".join(filter(None, (f"{set_words(data)}." if data else "", weights)))


def weights_note(records: Iterable[Record]) -> str:
    """Return the sentences on the one backbone, else on labels of those not published, and on what stands for MOS."""
    some = list(records)
    bones = {backbone_name(r["backbone"]) for r in some if (r.get("backbone") or {}).get("name")}
    labels = own_weights(some) if len(bones) > 1 else []
    data = [r["dataset"] for r in some if (r.get("dataset") or {}).get("label", "mos") != "mos"]
    others = dict.fromkeys(f"{set_name(d)}: with {short_label(d['label'])}." for d in data)
    notes = [f"Backbone: {b}." for b in bones if len(bones) == 1] + (
        [f"Backbones: {'; '.join(labels)}."] if labels else []
    )
    return " ".join([*notes, *others])


def subsets_note(records: Iterable[Record]) -> str:
    """Return the counts of images of data sets that are smaller than published; empty where there is none.

    Example:
        >>> subsets_note([{"dataset": {"name": "spaq", "n": 60, "expected": 11125}}])
        'n: SPAQ 60.'
    """
    sets = [r.get("dataset") or {} for r in records]
    counts = {set_name(d): f"{d['n']:,}" for d in sets if (d.get("n") or 0) < (d.get("expected") or 0)}
    return f"n: {', '.join(f'{name} {n}' for name, n in counts.items())}." if counts else ""


def within_words(text: str, record: Record) -> str:
    """Return the name of a statistic in which groups go by their own word, and their mean is said to be one.

    Example:
        >>> within_words("SRCC within groups", {"dataset": {"name": "agiqa3k"}})
        'Mean SRCC within generators'
    """
    word = f"within {group_word(record.get('dataset') or {})}s"
    return text.replace("SRCC within groups", f"Mean SRCC {word}").replace("within groups", word)


def score_name(record: Record, score: str) -> str:
    """Return a score's name inside a sentence: that of a paper's own method, else of the cue.

    Example:
        >>> score_name({}, "q_mag"), score_name({"choices": {"fusion": "fixed"}}, "q")
        ('the magnitude cue', 'the fused score')
    """
    return (_paper_title(record, score) if score == "q" else "") or f"the {SCORES[score].lower()}"


def fit_words(records: Iterable[Record]) -> str:
    """Return the name of the logistic fit that records hold."""
    fits = [fit for r in records for fit in (r.get("fits") or {}).values() if fit]
    methods = sorted({str(fit["method"]) for fit in fits if fit.get("method")}) or ["logistic4"]
    return ", ".join(FITS.get(method, method) for method in methods)


def clustered(record: Record) -> str:
    """Return the words for intervals of images that share a reference or prompt; empty for independent images.

    Example:
        >>> clustered({"dataset": {"cluster": "reference"}}), clustered({"dataset": {}})
        (', clustered by reference', '')
    """
    cluster = (record.get("dataset") or {}).get("cluster")
    return f", clustered by {cluster}" if cluster else ""


def study_notes(record: Record) -> list[str]:
    """Return the notes of a study's table: its own, and what was left out."""
    about: Record = record.get("ablation") or record.get("experiment") or {}
    notes = [str(note) for note in about.get("notes") or ()]
    notes += [f"Left out: {name}: {why}" for name, why in (about.get("lacking") or {}).items()]
    return [f"{capital(note.rstrip('.'))}." for note in notes]
