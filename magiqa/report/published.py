"""Published numbers, and which of them a run may be compared with.

``published.csv``: method, setting, dataset, n (empty where not stated), statistic, value, source, grade. Grade A was
read in the primary source, B is quoted by another paper, C comes from a summary of the paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from magiqa.package import published_file


@dataclass(frozen=True)
class Protocol:
    """The score that a published row measured, and the options that fix it.

    Args:
        score: ``q_sim`` or ``q``. prompts, views: names of options. backbone: open_clip's name.
        remark: what a reader must know about the comparison.
        sets: the data set option that a published set's name stands for, where it is not the option of that name.
    """

    score: str
    prompts: str
    views: str
    backbone: str = "RN50"
    remark: str = ""
    sets: Mapping[str, str] = field(default_factory=dict)


# The rows whose protocol is known well enough to run it. Any other row stands alone.
PROTOCOLS: dict[str, Protocol] = {
    "MA-CLIP": Protocol("q", "maclip", "maclip", sets={"livec": "livec_practice"}),
    "CLIP-IQA (as MA-CLIP reports it)": Protocol(
        "q_sim",
        "maclip",
        "whole",
        remark="prompts and views of this row are inferred from its TID2013 value",
        sets={"livec": "livec_practice"},
    ),
    "CLIP-IQA": Protocol("q_sim", "clipiqa", "whole", sets={"spaq": "spaq_512"}),
    "CLIP-IQA (piq 0.8)": Protocol("q_sim", "clipiqa", "whole"),
    "CLIP-IQA (pyiqa, 5 pairs)": Protocol("q_sim", "maclip", "whole"),
    "CLIP-IQA, ViT-B/32": Protocol("q_sim", "clipiqa", "whole", backbone="ViT-B-32"),
    "CLIP-IQA, High/Low quality": Protocol("q_sim", "high_low_quality", "whole"),
}


def published() -> pd.DataFrame:
    """Return the published rows, with `n` as a nullable integer.

    Example:
        >>> table = published()
        >>> sorted(set(table["grade"]))
        ['A', 'B', 'C']
    """
    return pd.read_csv(published_file(), dtype={"n": "Int64"})


def comparable(record: Mapping[str, Any]) -> str:
    """Return why a run's numbers must not stand beside published ones; empty if they may.

    Example:
        >>> comparable({"backbone": {"kind": "demo", "label": "demo weights"}})
        'demo weights: never set beside a published number'
        >>> openai = {"kind": "published", "label": None, "pretrained": "openai"}
        >>> comparable({"backbone": openai, "dataset": {"label": "mos", "every": 1}})
        ''
    """
    backbone, data = record.get("backbone", {}), record.get("dataset", {})
    if backbone.get("label") or backbone.get("kind") not in ("published", "given"):
        return f"{backbone.get('label') or backbone.get('kind')}: never set beside a published number"
    if backbone["kind"] == "published" and backbone.get("pretrained") != "openai":
        return f"weights {backbone.get('pretrained')}: the published values are of OpenAI's"
    precision = record.get("engine", {}).get("precision", "fp32")
    if precision != "fp32":
        return f"precision {precision}: the published values are of float32"
    if data.get("label") != "mos":
        return f"the label is {data.get('label')}, not mos"
    if int(data.get("every") or 1) > 1:
        return f"only one row in {data['every']}"
    if data.get("skipped"):
        return f"{len(data['skipped'])} images were skipped"
    return ""


def follows(record: Mapping[str, Any], protocol: Protocol) -> bool:
    """Return whether a run follows a published row's protocol in all that shapes its score.

    The record's options and its changes of them decide, never names for display.
    """
    options = {"prompts": protocol.prompts, "views": protocol.views}
    if protocol.score == "q":
        options |= {"magnitude": "boxcox", "fusion": "adaptive"}
    shaping = ("dataset", "pooling", *options, "backbone.positional_embedding")
    changed = [k for k in record["changed"] if k in shaping or k.partition(".")[0] in shaping]
    return not changed and all(record["choices"].get(g) == option for g, option in options.items())


def option(method: str, dataset: str) -> str:
    """Return the data set option (split, MOS column, resize) that a published row of this method is of.

    Example:
        >>> option("CLIP-IQA", "spaq"), option("MA-CLIP", "spaq")
        ('spaq_512', 'spaq')
    """
    return PROTOCOLS[method].sets.get(dataset, dataset) if method in PROTOCOLS else dataset
