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


_VARIED = {  # by an ablation's name
    "alpha": "α",
    "base": "the difference of the bases",
    "grid": "λ, bases and α",
    "lambda": "λ",
    "lambda_magnitude": "λ",
    "positional_embedding": "the positional embedding",
}


def ablation_title(about: Mapping[str, Any]) -> str:
    """What varies, and of which score.

    Args:
        about: ``ablation`` of a record: `name`, `score`.

    Example:
        >>> ablation_title({"name": "lambda_magnitude", "score": "q_mag"}), ablation_title({"name": "my_own"})
        ('Ablation of λ, magnitude cue', 'Ablation of my own')
    """
    name = str(about.get("name") or "variants")
    of = SCORES.get(str(about.get("score")), "")
    return f"Ablation of {_VARIED.get(name, name.replace('_', ' '))}" + (f", {of}" if of else "")


def result_title(record: Mapping[str, Any], stem: str) -> str:
    """A study's question and data set.

    Args:
        stem: of the table's file.

    Example:
        >>> result_title({"command": "ablate", "dataset": {"name": "spaq"},
        ...               "ablation": {"name": "pairs", "score": "q_sim"}}, "ablation")
        'Ablation of pairs, similarity cue, SPAQ'
    """
    command = str(record.get("command", "results"))
    if command == "ablate -m":
        return f"{ablation_title({'name': stem.removesuffix('-left_out')})}: one data set left out"
    about = record.get({"ablate": "ablation"}.get(command, command))
    name = str(about.get("name", "")) if isinstance(about, Mapping) else ""
    word = {"ablate": "Ablation", "compare": "Methods compared"}.get(command, command.capitalize())
    what = f"{word} {name.replace('_', ' ')}".strip()
    if command == "ablate" and isinstance(about, Mapping):
        what = ablation_title(about)
    return ", ".join(filter(None, (what, set_name(record.get("dataset") or {}))))


def each_once(titles: Sequence[str], names: Sequence[str]) -> list[str]:
    """Titles; with the results' own names where two are alike.

    Example:
        >>> each_once(["a", "b", "a"], ["x", "y", "z"])
        ['a [x]', 'b', 'a [z]']
    """
    titles = list(titles)
    return [f"{t} [{n}]" if titles.count(t) > 1 else t for t, n in zip(titles, names, strict=True)]
