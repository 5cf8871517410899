"""Captions: what was measured, on what, with what, and what was resampled, from the records alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from magiqa.report.display_names import backbone_name, label_name, parameter, set_facts, set_name
from magiqa.runs.names import pooling


def caption(record: Mapping[str, Any]) -> str:
    """In one line, what a reader of any number of this run must know: set, n, subset, direction, weights' label.

    Example:
        >>> caption({"dataset": {"name": "agiqa3k", "n": 299, "every": 10, "label": "mos"},
        ...          "backbone": {"name": "demo", "label": "untrained, seed 0"}})
        'AGIQA-3K, n = 299, one row in 10, label MOS; backbone demo (untrained, seed 0)'
    """
    data, bone = record.get("dataset", {}), record.get("backbone", {})
    about = ", ".join(filter(None, (set_name(data), set_facts(data))))
    weights = f"backbone {backbone_name(bone)}" if bone.get("name") or bone.get("label") else ""
    return "; ".join(filter(None, (about, weights)))


def figure_note(record: Mapping[str, Any]) -> str:
    """What a figure must say itself, should it lose its caption: set, n, what is left out, backbone with its weights.

    Example:
        >>> data = {"name": "agiqa3k", "n": 299, "every": 10, "skipped": [{"image": "a", "reason": "truncated"}]}
        >>> figure_note({"dataset": data, "backbone": {"name": "RN50"}})
        'AGIQA-3K, n = 299, one row in 10, 1 images skipped; RN50'
    """
    data, bone = record.get("dataset", {}), record.get("backbone", {})
    facts = set_facts(data, of_label=False)
    weights = backbone_name(bone) if bone.get("name") or bone.get("label") else ""
    return "; ".join(filter(None, (", ".join(filter(None, (set_name(data), facts))), weights)))


def describe(record: Mapping[str, Any], *, varied: Sequence[str] = (), intervals: bool = True) -> str:
    """In sentences: set, backbone, prompts, views, magnitude, fusion with their parameters, and what was resampled.

    Args:
        varied: groups of options and keys that the figure itself varies: left out. intervals: it shows some.

    Example:
        >>> data = {"name": "agiqa3k", "n": 299, "label": "mos", "cluster": "prompt"}
        >>> describe({"dataset": data, "backbone": {"name": "RN50"}, "config": {"resamples": 1000}})
        'AGIQA-3K, n = 299, label MOS; backbone RN50. Intervals: 95 %, bootstrap of 1,000 resamples of whole prompts.'
    """
    if not record.get("dataset"):  # a table over several sets
        return ""
    options = method_words(record, varied=varied)
    parts = [caption(record) + ".", f"{options}." if options else "", resampling(record) if intervals else ""]
    return " ".join(filter(None, parts))


def method_words(record: Mapping[str, Any], *, varied: Sequence[str] = ()) -> str:
    """Prompts, views, magnitude and fusion with the parameters that the record holds."""
    choices, config = record.get("choices", {}), record.get("config", {})
    out = []
    for one in ("prompts", "views", "magnitude", "fusion"):
        if not choices.get(one) or one in varied:
            continue
        held = config.get(one)
        held = (
            {k: v for k, v in held.items() if f"{one}.{k}" not in varied} if isinstance(held, Mapping) else {}
        )
        facts = _FACTS[one](held)
        out.append(f"{one} {choices[one]}" + (f" ({facts})" if facts else ""))
    if how := pooling(config):
        out.append(f"pooling {how}")
    text = "; ".join(out)
    return text[:1].upper() + text[1:]


def _prompts(held: Mapping[str, Any]) -> str:
    pairs = held.get("pairs")
    return f"{len(pairs)} pair{'s' * (len(pairs) != 1)}" if isinstance(pairs, list) else ""


def _views(held: Mapping[str, Any]) -> str:
    kinds = held.get("kinds")
    if not isinstance(kinds, list):
        return ""
    windows = f"{held.get('window')}-pixel windows"
    windows += f" at stride {held['stride']}" if held.get("stride") is not None else ""
    words = {"windows": windows, "global": "the resized image", "whole": "the image at its own size"}
    return " and ".join(words.get(kind, str(kind).replace("_", " ")) for kind in kinds)


def _magnitude(held: Mapping[str, Any]) -> str:
    if "lam" in held or "standardize" in held:
        lam = f"Box-Cox, λ = {held['lam']:g}" if "lam" in held else "Box-Cox"
        return lam + ("" if held.get("standardize", True) else ", not standardized")
    return ""


def _fusion(held: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{parameter(f'fusion.{k}')} = {v:g}" for k, v in held.items() if isinstance(v, int | float)
    )


_FACTS = {"prompts": _prompts, "views": _views, "magnitude": _magnitude, "fusion": _fusion}


def unit(record: Mapping[str, Any]) -> str:
    """What was resampled whole.

    Example:
        >>> unit({"dataset": {"cluster": "reference"}}), unit({"dataset": {}})
        ('whole references', 'images')
    """
    cluster = record.get("dataset", {}).get("cluster")
    return f"whole {cluster}s" if cluster else "images"


def resampling(record: Mapping[str, Any]) -> str:
    """The sentence on intervals."""
    times = record.get("resamples") or record.get("config", {}).get("resamples")
    of = f"{times:,} resamples of {unit(record)}" if times else f"resampled by {unit(record)}"
    return f"Intervals: 95 %, bootstrap of {of}." if times else f"Intervals: 95 % bootstrap, {of}."


def axis(label: str) -> str:
    """The axis title of a label, with its direction.

    Example:
        >>> axis("mos")
        'MOS (higher = better)'
    """
    return f"{label_name(label)} (higher = better)"
