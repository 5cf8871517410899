"""The words that a reader sees: names of data sets, backbones, methods, parameters and statistics, in one place.

Records and CSVs keep the keys; tables, figures, captions and the page show these.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from magiqa.datasets.sets import sets
from magiqa.runs.names import other_than_published
from magiqa.runs.portable import plain_name

SETS = {name: reader.title for name, reader in sets().items()}

OWN = {  # what no reader of the field can know: sentences for a paper
    "sample": "The magiqa sample: 16 photos that scikit-image and Matplotlib ship, distorted in eight ways and "
    "five levels.",
    "demo": "The demo backbone: a small CLIP that ships with magiqa for demonstration, trained on synthetic "
    "degradations.",
}

LABELS = {"mos": "MOS", "ssim": "SSIM to the pristine photo"}

STATISTICS = {
    "srcc": "SRCC",
    "krcc": "KRCC",
    "plcc": "PLCC (raw)",
    "plcc_logistic": "PLCC (fitted)",
    "plcc_logistic_cv": "PLCC (fitted, out of fold)",
    "rmse_logistic": "RMSE (fitted)",
    "srcc_logistic": "SRCC (fitted)",
    "srcc_within": "SRCC in groups",
}

SCORES = {
    "q_sim": "similarity cue",
    "q_mag": "magnitude cue",
    "q": "fused score",
    "laplacian": "Laplacian variance (control)",
    "bytes": "file bytes (control)",
}

PARAMETERS = {
    "magnitude.lam": "λ",
    "lam": "λ",
    "fusion.alpha": "α",
    "fusion.base_sim": "base of similarity",
    "fusion.base_mag": "base of magnitude",
    "fusion.w_sim": "weight of similarity",
    "views.stride": "stride (pixels)",
    "prompts.pairs": "prompt pair",
    "backbone.positional_embedding": "positional embedding",
}

OPTIONED = ("backbone", "prompts", "views", "magnitude", "fusion", "pooling")  # keys whose values are options

SIGNS = {  # in the names of variants
    **{key.rpartition(".")[2]: name for key, name in PARAMETERS.items()},
    "kinds": "views",
    "pairs": "pair",
}

OPTIONS = {  # of config groups; others show without their underscores
    "boxcox": "Box-Cox",
    "boxcox_raw": "Box-Cox, not standardized",
    "clipiqa": "of CLIP-IQA",
    "clipiqa_attributes": "of CLIP-IQA's attributes",
    "l1": "L1 norm",
    "l2": "L2 norm",
    "maclip": "of MA-CLIP",
}

COLUMNS = {
    **SCORES,
    "variant": "variant",
    "diff": "difference in SRCC",
    "diff_within": "difference in SRCC in groups",
    "p_adjusted": "p (adjusted)",
    "p_within_adjusted": "p in groups (adjusted)",
    "p_floor": "smallest p possible",
    "srcc": "SRCC",
    "srcc_within": "SRCC in groups",
    "plcc": "PLCC (raw)",
    "krcc": "KRCC",
    "mos_quality": "SRCC with quality",
    "mos_align": "SRCC with alignment",
    "srcc_a": "SRCC of a",
    "srcc_b": "SRCC of b",
    "label_from": "label from",
    "ci_simultaneous": "95 % interval, all rows at once",
    "within_simultaneous": "95 % interval in groups, all rows at once",
    "ci_groups": "95 % interval, other groups of the kind",
    "loo_group": "range, one group left out",
    "p": "p (alone)",
    "p_given_label": "p, given the label",
    "distance_given_label": "distance, given the label",
    "chance_given_label": "chance, given the label",
    "partial": "partial SRCC",
    "w_sim": "weight of similarity",
    "n_within": "n in groups",
    "diff_p": "p of the difference",
    "srcc_reference": "SRCC of the reference",
    "chosen_on_others": "best on the other sets",
    "gain_chosen": "its gain in SRCC",
    "best_here": "best on this set",
    "gain_best": "gain of the best",
    **{key: name for key, name in PARAMETERS.items() if key != "lam"},
}

VIEWS = {
    "maclip": "224×224 windows and the whole image resized to 224×224",
    "windows": "224×224 windows",
    "global": "the whole image resized to 224×224",
    "whole": "the whole image at its own size",
    "clip": "CLIP's center crop",
}


def set_name(data: Mapping[str, Any]) -> str:
    """A data set's name as its authors print it, with the variant.

    Example:
        >>> set_name({"name": "koniq", "variant": "test"}), set_name({"name": "mine"})
        ('KonIQ-10k test', 'mine')
    """
    name = str(data.get("name", ""))
    return " ".join(filter(None, (SETS.get(name, name), str(data.get("variant") or ""))))


def set_facts(data: Mapping[str, Any], *, of_label: bool = True) -> str:
    """What a reader of a number must know of the images behind it: n, subset, what is lacking, label, direction.

    Args:
        of_label: say so of a label that is no opinion; figures have it on an axis.

    Example:
        >>> set_facts({"n": 2982, "label": "mos", "every": 1})
        'n = 2,982, label MOS'
        >>> set_facts({"n": 30, "label": "ssim", "every": 10})
        'n = 30, one row in 10, label SSIM to the pristine photo (no human opinion)'
        >>> set_facts({"n": 30})
        'n = 30'
    """
    facts = [f"n = {data['n']:,}"] if data.get("n") is not None else []
    if data.get("name") not in SETS and data.get("fingerprint"):  # folders of one name are not one set
        facts.append(f"fingerprint {str(data['fingerprint'])[:6]}")
    if int(data.get("every") or 1) > 1:
        facts.append(f"one row in {data['every']}")
    facts += [_of_published(note, data.get("n")) for note in other_than_published(data.get("notes") or ())]
    facts += [f"images {resize_words(data['resize'])}"] if data.get("resize") else []
    if data.get("skipped"):
        facts.append(f"{len(data['skipped'])} images skipped")
    label = str(data.get("label") or "")
    if of_label and label:
        facts.append(f"label {label_name(label)}" + ("" if label == "mos" else " (no human opinion)"))
    if data.get("higher_is_better") is False:
        facts.append(f"{label_name(label or 'label')} negated, so that higher = better")
    return ", ".join(facts)


def _of_published(note: str, n: Any) -> str:
    """'90 annotated images, where 100 were published', shorter where all 90 were used."""
    found = re.fullmatch(r"(\d+) annotated images, where (\d+) were published", note)
    return f"of {int(found[2]):,} published" if found and int(found[1]) == n else note


def label_name(label: str) -> str:
    """A label's name.

    Example:
        >>> label_name("mos"), label_name("grade")
        ('MOS', 'grade')
    """
    return LABELS.get(label, label)


def short_label(label: str) -> str:
    """A label's sign, for narrow axes.

    Example:
        >>> short_label("ssim")
        'SSIM'
    """
    return label_name(label).partition(" to ")[0]


def backbone_name(bone: Mapping[str, Any]) -> str:
    """A backbone as the field writes it, with its weights, or their label.

    Example:
        >>> backbone_name({"name": "ViT-B-32", "kind": "published", "pretrained": "openai"})
        'ViT-B/32 (openai)'
        >>> backbone_name({"name": "RN50", "kind": "untrained", "label": "untrained, seed 0"})
        'RN50 (untrained, seed 0)'
    """
    name = ", ".join(_bone(part) for part in plain_name(str(bone.get("name", ""))).split(", "))
    weights = bone.get("label") or bone.get("pretrained")
    if str(weights).startswith(f"{name}, "):  # demo, trained on ...
        return str(weights)
    if not weights and bone.get("kind") == "given":
        weights = f"given, sha256 {str(bone.get('weights_sha256', ''))[:8]}"
    return f"{name} ({weights})" if weights else name


def _bone(name: str) -> str:
    """ViT-L-14-336 -> ViT-L/14@336."""
    parts = name.split("-")
    if parts[0] == "ViT" and len(parts) >= 3 and parts[2].isdigit():
        rest = parts[3:]
        size = f"@{rest.pop(0)}" if rest and rest[0].isdigit() else ""
        return "-".join([f"ViT-{parts[1]}/{parts[2]}{size}", *rest])
    return name


def parameter(key: str) -> str:
    """A parameter's sign or name.

    Example:
        >>> parameter("magnitude.lam"), parameter("fusion.other")
        ('λ', 'other')
    """
    return PARAMETERS.get(key, key.rpartition(".")[2].replace("_", " "))


def option_name(name: str) -> str:
    """A config group's option, with what was changed of it.

    Example:
        >>> option_name("maclip"), option_name("worst_tenth"), option_name("adaptive(alpha=2, base_sim=1)")
        ('of MA-CLIP', 'worst tenth', 'adaptive(α = 2, base of similarity = 1)')
    """
    option, bracket, changed = name.partition("(")
    return (
        OPTIONS.get(option, option.replace("_", " ")) + bracket + (variant_name(changed) if changed else "")
    )


def variant_name(name: str) -> str:
    """An ablation's variant in the field's signs.

    Example:
        >>> variant_name("lam=-0.50, base_sim=1"), variant_name("fixed, w_sim = 0.25"), variant_name("adaptive")
        ('λ = -0.50, base of similarity = 1', 'fixed, weight of similarity = 0.25', 'adaptive')
        >>> variant_name("pooling=worst_tenth"), variant_name("magnitude=boxcox")
        ('pooling = worst tenth', 'magnitude = Box-Cox')
    """

    def shown(found: re.Match[str]) -> str:
        value = option_name(found[2]) if found[2] and found[1] in OPTIONED else found[2] or ""
        return f"{SIGNS.get(found[1], found[1].replace('_', ' '))} = {value}"

    return re.sub(r"\b([A-Za-z_]+) ?= ?([A-Za-z_]\w*)?", shown, name)


def keyed_set(key: str) -> str:
    """A data set by its key in a table, followed by its variant.

    Example:
        >>> keyed_set("koniq test"), keyed_set("agiqa3k"), keyed_set("my own")
        ('KonIQ-10k test', 'AGIQA-3K', 'my own')
    """
    name, _, variant = key.partition(" ")
    return set_name({"name": name, "variant": variant})


VALUES: dict[str, Callable[[str], str]] = {  # by a CSV's column: how a table shows what it holds
    "best_here": variant_name,
    "chosen_on_others": variant_name,
    "dataset": keyed_set,
    "label": label_name,
    "reference": variant_name,
    "score": lambda key: SCORES.get(key, key),
    "statistic": lambda key: STATISTICS.get(key, key),
    "a": lambda key: SCORES.get(key, key),
    "b": lambda key: SCORES.get(key, key),
    "variant": variant_name,
}


def resize_words(resize: Mapping[str, Any]) -> str:
    """What was done to images before their views were cut.

    Example:
        >>> resize_words({"mode": "squash", "size": 448, "filter": "bicubic"})
        'squashed to 448×448 pixels, bicubic'
        >>> resize_words({"mode": "short_side", "size": 512, "filter": "bilinear"})
        'resized to a short side of 512 pixels, bilinear'
    """
    size, mode = resize.get("size"), str(resize.get("mode"))
    how = {
        "squash": f"squashed to {size}×{size} pixels",
        "short_side": f"resized to a short side of {size} pixels",
    }
    return f"{how.get(mode, f'resized ({mode} {size})')}, {resize.get('filter')}"


def statistic(key: str) -> str:
    """A statistic's name, the kind of PLCC with it."""
    return STATISTICS.get(key, key.replace("_", " "))


def column(key: str) -> str:
    """The heading of a column of any CSV."""
    return COLUMNS.get(key, key.replace("_", " ") if "." not in key else parameter(key))
