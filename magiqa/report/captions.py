"""Captions: what was measured, on what, with what, and what was resampled, from the records alone."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from magiqa.package import conf_dir
from magiqa.report.display_names import (
    backbone_name,
    label_name,
    option_name,
    parameter,
    set_facts,
    set_name,
    variant_name,
)
from magiqa.runs.names import method, other_than_published, pooling


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
        own = one == "prompts" and not _as_packaged(record)
        facts = ", ".join(filter(None, (_FACTS[one](held), _texts(held) if own else "")))
        out.append(f"{one} {option_name(str(choices[one]))}" + (f" ({facts})" if facts else ""))
    out += _others(record, varied)
    text = "; ".join(out)
    return text[:1].upper() + text[1:]


def main_protocol(records: Sequence[Mapping[str, Any]]) -> str:
    """What the first method that fuses both cues is made with, and its name: the row that a table is made for.

    Example:
        >>> main_protocol([{"choices": {"prompts": "mine", "views": "whole", "fusion": "product"}}])
        'Fused: Prompts mine; views whole; fusion product.'
    """
    fused = [
        r for r in records if (r.get("choices") or {}).get("fusion") not in (None, "similarity", "magnitude")
    ]
    words = method_words(fused[0]) if fused else ""
    name = method(fused[0], "q").partition(" [")[0] if fused else ""
    return f"{name[:1].upper()}{name[1:]}: {words}." if words else ""


def _others(record: Mapping[str, Any], varied: Sequence[str]) -> list[str]:
    """What else makes the numbers, where it is not as by default."""
    config, changed = record.get("config", {}), record.get("changed", {})
    found = {
        "pooling": pooling(config),
        "backbone.positional_embedding": _unless(
            "drop", record.get("backbone", {}).get("positional_embedding")
        ),
        "precision": _unless("fp32", (record.get("engine") or {}).get("precision")),
        "views.small": changed.get("views.small"),
        "fit": changed.get("fit"),
        "seed": changed.get("seed"),
    }
    return [f"{parameter(key)} {value}" for key, value in found.items() if value and key not in varied]


def _unless(default: str, value: Any) -> str:
    return "" if value is None or str(value) == default else str(value)


def _as_packaged(record: Mapping[str, Any]) -> bool:
    """Whether the name of the prompts tells their texts."""
    name = str(record.get("choices", {}).get("prompts"))
    return (
        "prompts.pairs" not in record.get("changed", {})
        and (conf_dir() / "prompts" / f"{name}.yaml").is_file()
    )


def _prompts(held: Mapping[str, Any]) -> str:
    pairs = held.get("pairs")
    return f"{len(pairs)} pair{'s' * (len(pairs) != 1)}" if isinstance(pairs, list) else ""


def _texts(held: Mapping[str, Any]) -> str:
    """The texts of one's own pairs; of many the first, and a hash of all."""
    pairs = held.get("pairs")
    if not isinstance(pairs, list) or not all(isinstance(pair, list) for pair in pairs):
        return ""
    texts = [" / ".join(map(str, pair)) for pair in pairs]
    if len(texts) <= 3:
        return "; ".join(texts)
    return f"{texts[0]}; ..., sha256 {hashlib.sha256(repr(texts).encode()).hexdigest()[:6]}"


def _views(held: Mapping[str, Any]) -> str:
    kinds = held.get("kinds")
    if not isinstance(kinds, list):
        return ""
    windows = f"{held.get('window')}-pixel windows"
    windows += f" at stride {held['stride']}" if held.get("stride") is not None else ""
    windows += " and flush with the far edges" if held.get("cover") else ""
    words = {"windows": windows, "global": "the resized image", "whole": "the image at its own size"}
    return " and ".join(words.get(kind, str(kind).replace("_", " ")) for kind in kinds)


def _magnitude(held: Mapping[str, Any]) -> str:
    return f"λ = {held['lam']:g}" if isinstance(held.get("lam"), int | float) else ""


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


def study_notes(record: Mapping[str, Any]) -> list[str]:
    """What stands below a study's table: what it says of itself, what was left out, and its warnings."""
    about = record.get("ablation") or record.get("experiment") or {}
    about = about if isinstance(about, Mapping) else {}
    notes = [f"{str(note).rstrip('.')}." for note in about.get("notes") or []]
    notes += [
        f"Left out: {name}: {str(why).rstrip('.')}." for name, why in (about.get("lacking") or {}).items()
    ]
    warnings = [str(text) for text in record.get("warnings") or ()]
    told = other_than_published(warnings)  # by the caption
    notes += [f"Warning: {text.rstrip('.')}." for text in warnings if text not in told]
    split = about.get("split_half") or {}
    if split.get("optimism") is not None:
        best, gain = variant_name(str(about.get("best", ""))), about.get("best_gain") or 0
        notes.append(
            f"Picked on these images, {best} gains {gain:+.4f}. A variant picked on one half of them gains "
            f"{split['optimism']:.4f} less on the other ({split.get('splits')} splits)."
        )
    return notes


def axis(label: str) -> str:
    """The axis title of a label, with its direction.

    Example:
        >>> axis("mos")
        'MOS (higher = better)'
    """
    return f"{label_name(label)} (higher = better)"
