"""Citation keys of data sets, backbones, methods and tests; `assets/references.bib` holds the entries."""

from collections.abc import Mapping
from typing import Any

SETS = {
    "agiqa1k": "zhang2023agiqa1k",
    "agiqa3k": "li2023agiqa3k",
    "csiq": "larson2010csiq",
    "kadid10k": "lin2019kadid10k",
    "koniq": "hosu2020koniq10k",
    "livec": "ghadiyaram2016livec",
    "pipal": "gu2020pipal",
    "spaq": "fang2020spaq",
    "tid2013": "ponomarenko2015tid2013",
}

METHODS = {
    "MA-CLIP": "arxiv2511.09948",
    "CLIP-IQA": "arxiv2207.12396",
    "CLIP-IQA, five pairs": "arxiv2207.12396",
}


def cite(key: str) -> str:
    """Return a citation as text holds it; empty without a key.

    Example:
        >>> cite("koniq"), cite("")
        (' [@koniq]', '')
    """
    return f" [@{key}]" if key else ""


def set_cite(data: Mapping[str, Any]) -> str:
    """Return the citation of a data set."""
    return cite(SETS.get(str(data.get("name")), ""))


def backbone_cite(bone: Mapping[str, Any]) -> str:
    """Return the citation of published weights: OpenAI's CLIP or OpenCLIP's."""
    if bone.get("kind") != "published":
        return ""
    return cite("radford2021clip" if bone.get("pretrained") == "openai" else "cherti2023openclip")
