"""Names of methods, as short as they may be beside one another."""

from collections.abc import Mapping, Sequence
from typing import Any

from magiqa.report.display_names import option_name
from magiqa.runs.names import CONTROLS, method, option, pooling

_WHAT = {"q_sim": "Similarity", "q_mag": "Magnitude", "q": "Fused"}

_PARTS = {
    "q_sim": ("prompts", "views", "pooling", "positional embedding"),
    "q_mag": ("magnitude", "views", "pooling", "positional embedding"),
    "q": ("fusion", "prompts", "views", "magnitude", "pooling", "positional embedding"),
}


def methods(rows: Sequence[tuple[str, Mapping[str, Any], str]]) -> tuple[list[str], str]:
    """Names of methods as short as they may be, and what all that are not named for a paper share.

    Args:
        rows: (the run's name, its record, the score).

    Returns:
        A name a row, unique with its record's set and backbone; and the sentence for above the table.

    Example:
        >>> a = {"choices": {"prompts": "mine", "views": "whole", "fusion": "product"}}
        >>> methods([("a", a, "q"), ("a", a, "q_sim"), ("a", a, "bytes")])
        (['Fused', 'Similarity', 'file bytes (control)'], 'Rows of cues: prompts mine; views whole; fusion product.')
    """
    paper = [_paper(record, score) for _, record, score in rows]
    parts = [
        {} if name or score in CONTROLS else {g: _option(record, g) for g in _PARTS[score]}
        for name, (_, record, score) in zip(paper, rows, strict=True)
    ]
    shared = {}
    for group in ("prompts", "views", "magnitude", "fusion", "pooling", "positional embedding"):
        values = {part[group] for part in parts if group in part}
        if len(values) == 1 and (value := values.pop()):
            shared[group] = value
    names = []
    for name, part, (_, _, score) in zip(paper, parts, rows, strict=True):
        own = [f"{g} {v}" if g != "magnitude" else v for g, v in part.items() if v and g not in shared]
        what = name or _WHAT.get(score, score)
        names.append(f"{what} [{'; '.join(own)}]" if own else what)
    said = "; ".join(f"{group} {value}" for group, value in shared.items())
    return names, f"Rows of cues: {said}." if said else ""


def _paper(record: Mapping[str, Any], score: str) -> str:
    """The name of a paper's own method, or of a control; empty for any other."""
    name = method(record, score)
    return "" if name.endswith("]") else name


def _option(record: Mapping[str, Any], group: str) -> str:
    if group == "pooling":
        return pooling(record.get("config", {}))
    if group == "positional embedding":
        kept = str(record.get("backbone", {}).get("positional_embedding", "drop"))
        return "" if kept == "drop" else kept
    return option_name(option(record, group))
