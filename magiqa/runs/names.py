"""Names of scores, options and files, as records hold them."""

import re
from collections.abc import Mapping
from typing import Any

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
    """Return the pooling over views in words; empty for the mean.

    Example:
        >>> pooling({"pooling": "median"}), pooling({"pooling": {"_target_": "mine.Trimmed", "share": 0.1}})
        ('median', 'Trimmed(share=0.1)')
    """
    how = config.get("pooling", "mean")
    if isinstance(how, Mapping):
        own = ", ".join(f"{key}={value}" for key, value in how.items() if not key.startswith("_"))
        return str(how.get("_target_", "")).rpartition(".")[2] + (f"({own})" if own else "")
    return "" if how == "mean" else str(how)


def slug(name: str) -> str:
    """A file name: letters, digits, dots, dashes.

    Example:
        >>> slug("AGIQA 3K/é: 1")
        'AGIQA_3K_1'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._") or "run"
