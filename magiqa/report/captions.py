"""The words that captions and notes share: where a number was measured, and with what."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from magiqa.package import conf_dir
from magiqa.report.words import (
    backbone_name,
    option_name,
    own_weights,
    parameter,
    set_words,
)
from magiqa.runs.names import other_than_published, pooling

Record = Mapping[str, Any]

FITS = {
    "logistic4": "4-parameter logistic",
    "official": "5-parameter logistic of MA-CLIP's code",
}


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


def weights_note(records: Sequence[Record]) -> str:
    """Return the sentence on weights that are not published ones; empty where all are."""
    labels = own_weights(records)
    return f"Weights: {'; '.join(labels)}." if labels else ""


def fit_words(records: Sequence[Record]) -> str:
    """Return the name of the logistic fit that records hold."""
    methods = {
        str(f.get("method")) for r in records for f in (r.get("fits") or {}).values() if f and f.get("method")
    }
    return ", ".join(FITS.get(method, method) for method in sorted(methods)) or FITS["logistic4"]


def unit(record: Record) -> str:
    """Return the units that are sampled.

    Example:
        >>> unit({"dataset": {"cluster": "reference"}}), unit({"dataset": {}})
        ('references', 'images')
    """
    cluster = (record.get("dataset") or {}).get("cluster")
    return f"{cluster}s" if cluster else "images"


def study_notes(record: Record) -> list[str]:
    """Return the notes of a study's table: its own, what was left out and its warnings."""
    about = record.get("ablation") or record.get("experiment") or {}
    about = about if isinstance(about, Mapping) else {}
    notes = [f"{str(note).rstrip('.')}." for note in about.get("notes") or []]
    notes += [
        f"Left out: {name}: {str(why).rstrip('.')}." for name, why in (about.get("lacking") or {}).items()
    ]
    warnings = [str(text) for text in record.get("warnings") or ()]
    notes += [f"Note: {text.rstrip('.')}." for text in warnings if text not in other_than_published(warnings)]
    return notes


def method_words(record: Record) -> str:
    """Return prompts, views, magnitude and fusion with all parameters that the record holds.

    Example:
        >>> method_words({"choices": {"fusion": "fixed"}, "config": {"fusion": {"w_sim": 0.5}}})
        'fusion: fixed (weight of similarity = 0.5)'
    """
    choices, config = record.get("choices") or {}, record.get("config") or {}
    out = []
    for group, words in (
        ("prompts", _prompts),
        ("views", _views),
        ("magnitude", _numbers),
        ("fusion", _numbers),
    ):
        if choices.get(group):
            held = config.get(group)
            facts = words(group, held, record) if isinstance(held, Mapping) else ""
            out.append(f"{group}: {option_name(str(choices[group]))}" + (f" ({facts})" if facts else ""))
    changed = record.get("changed") or {}
    rest = {
        "pooling": pooling(config),
        "positional embedding": _unless("drop", (record.get("backbone") or {}).get("positional_embedding")),
        "precision": _unless("fp32", (record.get("engine") or {}).get("precision")),
        **{key.rpartition(".")[2]: changed.get(key) for key in ("views.small", "fit", "seed")},
    }
    return "; ".join([*out, *(f"{key}: {value}" for key, value in rest.items() if value)])


def _unless(default: str, value: Any) -> str:
    return "" if value is None or str(value) == default else str(value)


def _prompts(group: str, held: Record, record: Record) -> str:
    """Return the count of prompt pairs; the texts of the user's own, of many the first and a hash of all."""
    pairs = held.get("pairs")
    if not isinstance(pairs, list | tuple):
        return ""
    count = f"{len(pairs)} pair{'s' * (len(pairs) != 1)}"
    packaged = (conf_dir() / "prompts" / f"{(record.get('choices') or {}).get('prompts')}.yaml").is_file()
    if packaged and "prompts.pairs" not in (record.get("changed") or {}):
        return count
    texts = [" / ".join(map(str, pair)) for pair in pairs if isinstance(pair, list | tuple)]
    if len(texts) > 3:
        texts = [texts[0], f"..., sha256 {hashlib.sha256(repr(texts).encode()).hexdigest()[:6]}"]
    return "; ".join([count, *texts])


def _views(group: str, held: Record, record: Record) -> str:
    windows = f"{held.get('window')}-pixel windows"
    windows += f" at stride {held['stride']}" if held.get("stride") is not None else ""
    windows += " and flush with the far edges" if held.get("cover") else ""
    words = {"windows": windows, "global": "the resized image", "whole": "the image at its own size"}
    kinds = held.get("kinds")
    return (
        " and ".join(words.get(kind, str(kind)) for kind in kinds) if isinstance(kinds, list | tuple) else ""
    )


def _numbers(group: str, held: Record, record: Record) -> str:
    return ", ".join(f"{parameter(f'{group}.{k}')} = {v:g}" for k, v in held.items()
                     if isinstance(v, int | float) and not isinstance(v, bool))  # fmt: skip
