"""What results are called on the page and over tables: in words, and each once."""

from collections.abc import Mapping, Sequence
from typing import Any

from magiqa.report.display_names import SCORES, set_name
from magiqa.runs.names import method


def run_title(record: Mapping[str, Any]) -> str:
    """A run's data set and method.

    Example:
        >>> choices = {"prompts": "clipiqa", "views": "whole", "fusion": "similarity"}
        >>> run_title({"dataset": {"name": "koniq"}, "choices": choices})
        'KonIQ-10k: CLIP-IQA'
    """
    alone = {"similarity": "q_sim", "magnitude": "q_mag"}
    score = alone.get(str(record.get("choices", {}).get("fusion")), "q")
    return f"{set_name(record['dataset'])}: {method(record, score)}"


def result_title(record: Mapping[str, Any], stem: str) -> str:
    """A study's question and data set.

    Args:
        stem: of the table's file.

    Example:
        >>> result_title({"command": "ablate", "dataset": {"name": "spaq"},
        ...               "ablation": {"name": "pairs", "score": "q_sim"}}, "ablation")
        'Ablation pairs of the similarity cue, SPAQ'
    """
    command = str(record.get("command", "results"))
    if command == "ablate -m":
        return f"Ablation {stem.removesuffix('-left_out')}: one data set left out"
    about = record.get({"ablate": "ablation"}.get(command, command))
    name = str(about.get("name", "")) if isinstance(about, Mapping) else ""
    word = {"ablate": "Ablation", "compare": "Methods compared"}.get(command, command.capitalize())
    of = f" of the {SCORES.get(str(about.get('score')), 'score')}" if command == "ablate" and about else ""
    data = record.get("dataset") or {}
    return ", ".join(filter(None, (f"{word} {name}".strip() + of, set_name(data))))


def each_once(titles: Sequence[str], names: Sequence[str]) -> list[str]:
    """Titles; with the results' own names where two are alike.

    Example:
        >>> each_once(["a", "b", "a"], ["x", "y", "z"])
        ['a [x]', 'b', 'a [z]']
    """
    titles = list(titles)
    return [f"{t} [{n}]" if titles.count(t) > 1 else t for t, n in zip(titles, names, strict=True)]
