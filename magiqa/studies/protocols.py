"""The protocols of published rows, as overrides."""

from collections.abc import Sequence
from typing import Any

from magiqa.backbones.spec import Backbone
from magiqa.errors import UserError
from magiqa.method.presets import presets
from magiqa.report.published import PROTOCOLS, option, published

# the paper's method on any backbone, in the overrides of a job
MACLIP = {group: name for group, name in presets()["maclip"].options.items() if group != "backbone"} | {
    "pooling": "mean",
    "backbone.positional_embedding": "drop",
}


def published_row(text: str) -> dict[str, Any]:
    """Return the SRCC row ``METHOD:DATASET`` of ``published.csv``, the best grade first.

    Raises:
        UserError: no such row, or its protocol is not known well enough to be run.
    """
    method, _, dataset = text.rpartition(":")
    rows = published()
    rows = rows[rows["statistic"] == "srcc"]
    rows = rows[rows["method"].isin(list(PROTOCOLS))]
    mine = rows[(rows["method"] == method) & (rows["dataset"] == dataset)]
    if mine.empty:
        names = ", ".join(sorted(set(rows["method"] + ":" + rows["dataset"])))
        raise UserError(
            f"reconcile: {text} is no published row of a known protocol; use METHOD:DATASET, one of {names}"
        )
    return {str(k): v for k, v in mine.sort_values("grade", kind="stable").iloc[0].items()}


def overrides_of(row: dict[str, Any], options: Sequence[str], backbone: Backbone) -> list[str]:
    """Return the overrides that make a job follow a published row's protocol.

    Args:
        options: the data set options there are. backbone: the one in use; published weights become OpenAI's.

    Raises:
        UserError: the row's data set has no option.
    """
    protocol = PROTOCOLS[row["method"]]
    dataset = option(row["method"], row["dataset"])
    if dataset not in options:
        raise UserError(f"reconcile: there is no dataset option {dataset}; this row cannot be run")
    settings = MACLIP | {
        "dataset": dataset,
        "prompts": protocol.prompts,
        "views": protocol.views,
        "precision": "fp32",
        "fit": "official" if row["method"].startswith("MA-CLIP") else "logistic4",
    }
    if protocol.score == "q_sim":
        settings["fusion"] = "similarity"
    if backbone.name not in (protocol.backbone, "demo"):
        raise UserError(
            f"reconcile: this row is of {protocol.backbone}, not {backbone.name}; use that backbone"
        )
    if backbone.kind == "published":
        weights = {"pretrained": "openai", "quickgelu": "true", "label": "null"}
        settings |= {f"backbone.{key}": value for key, value in weights.items()}
    return [f"{key}={value}" for key, value in settings.items()]
