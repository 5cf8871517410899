"""The names that methods, backbones and data sets go by in tables and files."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from magiqa.runs.portable import plain_name

CUES = ("q_sim", "q_mag", "q")

CONTROLS = {"laplacian": "Laplacian variance (control)", "bytes": "file bytes (control)"}


def option(record: Mapping[str, Any], group: str) -> str:
    """The option of a config group, with every key that the run changed of it.

    Example:
        >>> option({"choices": {"fusion": "adaptive"}, "changed": {"fusion.alpha": 2}}, "fusion")
        'adaptive(alpha=2)'
    """
    chosen = str(record.get("choices", {}).get(group, ""))
    changed = [
        f"{key.removeprefix(f'{group}.')}={value}"
        for key, value in record.get("changed", {}).items()
        if key.startswith(f"{group}.")
    ]
    return f"{chosen}({', '.join(changed)})" if changed else chosen


def pooling(config: Mapping[str, Any]) -> str:
    """How views' scores were pooled, in words; empty for the mean.

    Example:
        >>> pooling({"pooling": "median"}), pooling({"pooling": {"_target_": "mine.Trimmed", "share": 0.1}})
        ('median', 'Trimmed(share=0.1)')
    """
    how = config.get("pooling", "mean")
    if isinstance(how, Mapping):
        own = ", ".join(f"{key}={value}" for key, value in how.items() if not key.startswith("_"))
        return str(how.get("_target_", "")).rpartition(".")[2] + (f"({own})" if own else "")
    return "" if how == "mean" else str(how)


def method(record: Mapping[str, Any], score: str) -> str:
    """The name of a run's method: what makes this score, and nothing that does not.

    The similarity cue does not depend on magnitude or fusion, the magnitude cue not on prompts or fusion.
    """
    if score in CONTROLS:
        return CONTROLS[score]
    prompts, views, magnitude, fusion = (
        option(record, g) for g in ("prompts", "views", "magnitude", "fusion")
    )
    config = record.get("config", {})
    extra = []
    if how := pooling(config):
        extra.append(f"pooling {how}")
    positional = record.get("backbone", {}).get("positional_embedding", "drop")
    if positional != "drop":
        extra.append(f"positional embedding {positional}")
    if not extra:
        known = {
            ("q", "maclip", "maclip", "boxcox", "adaptive"): "MA-CLIP",
            ("q_sim", "clipiqa", "whole"): "CLIP-IQA",
            ("q_sim", "maclip", "whole"): "CLIP-IQA, five pairs",
        }
        for key in ((score, prompts, views, magnitude, fusion), (score, prompts, views)):
            if key in known:
                return known[key]
    if score == "q_sim":
        what, parts = "similarity only", [f"prompts {prompts}", f"views {views}"]
    elif score == "q_mag":
        what, parts = "magnitude only", [magnitude, f"views {views}"]
    else:
        what, parts = "fused", [f"fusion {fusion}", f"prompts {prompts}", f"views {views}", magnitude]
    return f"{what} [{'; '.join([*(p for p in parts if p.split()[-1:] and p.strip()), *extra])}]"


def backbone(record: Mapping[str, Any]) -> str:
    """A backbone with its weights: their label where they have one.

    Example:
        >>> backbone({"backbone": {"name": "demo", "kind": "demo", "label": "demo weights"}})
        'demo (demo weights)'
        >>> backbone({"backbone": {"name": "demo", "label": "demo, trained on synthetic degradations"}})
        'demo, trained on synthetic degradations'
        >>> backbone({"backbone": {"name": "RN50", "kind": "published", "pretrained": "openai", "label": None}})
        'RN50 (openai)'
    """
    bone = record.get("backbone", {})
    name, label = plain_name(str(bone.get("name", ""))), bone.get("label")
    if label:
        return str(label) if str(label).startswith(f"{name}, ") else f"{name} ({label})"
    if bone.get("kind") == "given":
        return f"{name} (given, sha256 {str(bone.get('weights_sha256', ''))[:8]})"
    return f"{name} ({bone['pretrained']})" if bone.get("pretrained") else name


def dataset(record: Mapping[str, Any]) -> str:
    """A data set with its variant, n, subset and, where it is not MOS, its label.

    Example:
        >>> dataset({"dataset": {"name": "koniq", "variant": "test", "n": 202, "every": 10, "label": "mos"}})
        'koniq test (n = 202, one row in 10)'
    """
    data = record["dataset"]
    name = " ".join(str(data[key]) for key in ("name", "variant") if data.get(key))
    if record.get("choices", {}).get("dataset") == "folder" and data.get("fingerprint"):
        name += f" {data['fingerprint'][:6]}"  # folders of one name are not one set
    facts = [f"n = {data['n']:,}"]
    if int(data.get("every") or 1) > 1:
        facts.append(f"one row in {data['every']}")
    if data.get("skipped"):
        facts.append(f"{len(data['skipped'])} skipped")
    if data.get("label") != "mos":
        facts.append(f"label {data['label']}, no MOS")
    return f"{name} ({', '.join(facts)})"


def slug(name: str) -> str:
    """A file name: letters, digits, dots, dashes.

    Example:
        >>> slug("AGIQA 3K/é: 1")
        'AGIQA_3K_1'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._") or "run"


def other_than_published(notes: Iterable[str]) -> list[str]:
    """Of a data set's notes, those that say that it is not as large as published.

    Example:
        >>> other_than_published(["one row in 10", "900 annotated images, where 2982 were published"])
        ['900 annotated images, where 2982 were published']
    """
    return [note for note in notes if note.endswith("were published")]
