"""The words that readers see for data sets, MOS, backbones, parameters, options and statistics.

Records and CSVs hold keys. Tables, figures, captions and the page show these words.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from magiqa.datasets.base import other_than_published, sets
from magiqa.runs.config import plain_name
from magiqa.runs.read import CONTROLS
from magiqa.stats import agreement

Record = Mapping[str, Any]

SETS = {name: reader.title for name, reader in sets().items()}

OWN_SENTENCES = {  # for a paper: what no reader of the field can know
    "sample": "The magiqa sample holds 16 photos that scikit-image and Matplotlib ship, distorted in eight ways and "
    "five levels.",
    "demo": "The demo backbone is a small CLIP that ships with magiqa for demonstration.",
}

LABELS = {"mos": "MOS", "ssim": "SSIM to the pristine photo"}

STATISTICS = {name: statistic.title for name, statistic in agreement.STATISTICS.items()}

LOWER_IS_BETTER = {name for name, statistic in agreement.STATISTICS.items() if not statistic.higher_is_better}

SCORES = {"q_sim": "Similarity cue", "q_mag": "Magnitude cue", "q": "Fused score", **CONTROLS}

AXES = {"q_sim": "Similarity cue", "q_mag": "Magnitude cue", "q": "Predicted score"}

PARAMETERS = {
    "magnitude.lam": "λ",
    "fusion.alpha": "α",
    "fusion.base_sim": "base of similarity",
    "fusion.base_mag": "base of magnitude",
    "fusion.w_sim": "weight of similarity",
    "views.stride": "stride",
    "prompts.pairs": "prompt pair",
}

SIGNS = {
    **{key.rpartition(".")[2]: name for key, name in PARAMETERS.items()},
    "kinds": "views",
    "pairs": "pair",
}

GROUPS = ("backbone", "prompts", "views", "magnitude", "fusion", "pooling")  # keys whose values are options

OPTIONS = {
    "boxcox": "Box-Cox",
    "boxcox_raw": "Unstandardized Box-Cox",
    "clipiqa": "CLIP-IQA",
    "clipiqa_attributes": "CLIP-IQA attributes",
    "high_low_quality": "High quality / Low quality",
    "l1": "L1 norm",
    "l2": "L2 norm",
    "maclip": "MA-CLIP",
    "participation": "participation ratio",
    "std": "standard deviation",
}

BASES = "base of similarity minus base of magnitude"  # all that matters of the two

COLUMNS = {
    **SCORES,
    **OPTIONS,
    **STATISTICS,
    "dataset": "data set",
    "set": "data set",
    "diff": "difference",
    "diff_within": "difference within groups",
    "p_adjusted": "p (adjusted)",
    "p_within_adjusted": "p within groups (adjusted)",
    "mos_quality": "SRCC with quality MOS",
    "mos_align": "SRCC with alignment MOS",
    "a": "A",
    "b": "B",
    "srcc_a": "SRCC of A",
    "srcc_b": "SRCC of B",
    "mos": "MOS",
    "by": "content",
    "contents": "count",
    "of": "features",
    "label_from": "MOS from",
    "label_to": "MOS to",
    "p_given_label": "p, given MOS",
    "share_given_label": "share, given MOS",
    "auroc": "AUROC",
    "gmacs": "GMACs",
    "ms": "ms",
    "parameters": "Parameters (M)",
    "srcc_level": "SRCC with level",
    "references": "reference images",
    "distorted": "distorted images",
    "partial": "partial SRCC",
    "w_sim": "weight of similarity",
    "srcc_reference": "SRCC, reference",
    "chosen_on_others": "best on the others",
    "gain_chosen": "gain",
    "best_here": "best here",
    "gain_best": "gain",
    **PARAMETERS,
    "lam": "λ",
}

_GROUP_WORDS = {
    **dict.fromkeys(("agiqa1k", "agiqa3k"), "generator"),
    **dict.fromkeys(("csiq", "kadid10k", "pipal", "sample", "tid2013"), "distortion type"),
}

_GENERATORS = {"sd1.5": "SD 1.5", "xl2.2": "SD XL 2.2", "glide": "GLIDE",
               "midjourney": "Midjourney", "DALLE2": "DALL-E 2"}  # fmt: skip

_SETTINGS = {"normal": "", "lowstep": "low steps", "lowcorr": "low guidance", "highcorr": "high guidance"}


def set_name(data: Record) -> str:
    """Return a data set's name as its authors print it, with the variant.

    Example:
        >>> set_name({"name": "koniq", "variant": "test"}), set_name({"name": "mine"})
        ('KonIQ-10k test', 'mine')
    """
    name = str(data.get("name", ""))
    return " ".join(filter(None, (SETS.get(name, name), str(data.get("variant") or ""))))


def set_key(data: Record) -> str:
    """Return what tells a data set and its MOS column apart from others."""
    return " ".join(str(data.get(key, "")) for key in ("name", "variant", "fingerprint", "label", "n"))


def set_words(data: Record) -> str:
    """Return a data set with the count of images, for captions.

    Example:
        >>> set_words({"name": "agiqa3k", "n": 2982, "label": "mos"})
        'AGIQA-3K (2,982 images)'
        >>> set_words({"name": "agiqa3k", "n": 299, "every": 10, "skipped": [{}]})
        'AGIQA-3K (299 images, one in 10, 1 skipped)'
    """
    facts = [f"{data['n']:,} images"] if data.get("n") is not None else []
    facts += [f"one in {data['every']}"] if int(data.get("every") or 1) > 1 else []
    facts += [f"{len(data['skipped'])} skipped"] if data.get("skipped") else []
    facts += [] if data.get("label", "mos") == "mos" else [short_label(data["label"])]
    return f"{set_name(data)} ({', '.join(facts)})" if facts else set_name(data)


def set_facts(data: Record) -> str:
    """Return all that a reader must know of a data set: n, subset, resize, direction, and what stands for MOS.

    Example:
        >>> set_facts({"n": 30, "label": "ssim", "every": 10})
        'n = 30, one row in 10, SSIM to the pristine photo (no human opinion)'
    """
    facts = [f"n = {data['n']:,}"] if data.get("n") is not None else []
    facts += [f"one row in {data['every']}"] if int(data.get("every") or 1) > 1 else []
    facts += other_than_published(data.get("notes") or ())
    facts += [f"images {resize_words(data['resize'])}"] if data.get("resize") else []
    facts += [f"{len(data['skipped'])} skipped"] if data.get("skipped") else []
    label = str(data.get("label") or "mos")
    facts += [f"{label_name(label)} (no human opinion)"] if label != "mos" else []
    facts += (
        [f"{label_name(label)} negated, so that higher is better"]
        if data.get("higher_is_better") is False
        else []
    )
    return ", ".join(facts)


def set_line(data: Record) -> str:
    """Return a data set with its facts, for headings.

    Example:
        >>> set_line({"name": "koniq", "variant": "test", "n": 202, "every": 10, "label": "mos"})
        'KonIQ-10k test (n = 202, one row in 10)'
    """
    fingerprint = str(data.get("fingerprint") or "")[:6] if data.get("name") not in SETS else ""
    return f"{' '.join(filter(None, (set_name(data), fingerprint)))} ({set_facts(data)})"


def resize_words(resize: Record) -> str:
    """Return how images were resized before their views were cut.

    Example:
        >>> resize_words({"mode": "squash", "size": 448, "filter": "bicubic"})
        'squashed to 448×448 pixels, bicubic'
    """
    size, mode = resize.get("size"), str(resize.get("mode"))
    ways = {
        "squash": f"squashed to {size}×{size} pixels",
        "short_side": f"resized to a short side of {size} pixels",
    }
    return f"{ways.get(mode, f'resized ({mode} {size})')}, {resize.get('filter')}"


def label_name(label: str) -> str:
    """Return the name of the column that scores are compared with.

    Example:
        >>> label_name("mos"), label_name("grade")
        ('MOS', 'grade')
    """
    return LABELS.get(label, label)


def short_label(label: str) -> str:
    """Return the same for narrow axes.

    Example:
        >>> short_label("ssim")
        'SSIM'
    """
    return label_name(label).partition(" to ")[0]


def group_word(data: Record) -> str:
    """Return the word for a data set's groups: generator, distortion type, or group."""
    return _GROUP_WORDS.get(str(data.get("name")), "group")


def group_name(name: str, data: Record) -> str:
    """Return a group's name as a paper prints it.

    Example:
        >>> group_name("midjourney_lowstep", {"name": "agiqa3k"}), group_name("jpeg_2000", {"name": "sample"})
        ('Midjourney, low steps', 'JPEG 2000')
    """
    if data.get("name") == "agiqa3k":
        generator, _, setting = name.rpartition("_")
        if setting not in _SETTINGS:
            return name
        return ", ".join(filter(None, (_GENERATORS.get(generator, generator), _SETTINGS[setting])))
    if group_word(data) != "distortion type":
        return name
    words = name.replace("_", " ").replace("jpeg", "JPEG")
    return words[:1].upper() + words[1:]


def backbone_name(bone: Record) -> str:
    """Return a backbone as the field writes it, with its weights or their label.

    Example:
        >>> backbone_name({"name": "ViT-B-32", "kind": "published", "pretrained": "openai"})
        'ViT-B/32 (openai)'
        >>> backbone_name({"name": "demo", "label": "demo, trained on synthetic degradations"})
        'demo, trained on synthetic degradations'
    """
    name = ", ".join(_architecture(part) for part in plain_name(str(bone.get("name", ""))).split(", "))
    weights = bone.get("label") or bone.get("pretrained")
    if str(weights).startswith(f"{name}, "):
        return str(weights)
    if not weights and bone.get("kind") == "given":
        weights = f"given, sha256 {str(bone.get('weights_sha256', ''))[:8]}"
    return f"{name} ({weights})" if weights else name


def _architecture(name: str) -> str:
    """Write ViT-L-14-336 as ViT-L/14@336."""
    parts = name.split("-")
    if parts[0] == "ViT" and len(parts) >= 3 and parts[2].isdigit():
        rest = parts[3:]
        size = f"@{rest.pop(0)}" if rest and rest[0].isdigit() else ""
        return "-".join([f"ViT-{parts[1]}/{parts[2]}{size}", *rest])
    return name


def own_weights(records: Iterable[Record]) -> list[str]:
    """Return the labels of weights that are not published ones."""
    bones = [r.get("backbone") or {} for r in records]
    return sorted({str(bone["label"]) for bone in bones if bone.get("label")})


def parameter(key: str) -> str:
    """Return a parameter's sign or name.

    Example:
        >>> parameter("magnitude.lam"), parameter("fusion.other")
        ('λ', 'other')
    """
    leaf = key.rpartition(".")[2]
    return PARAMETERS.get(key, SIGNS.get(leaf, leaf.replace("_", " ")))


def option_name(name: str) -> str:
    """Return a config group's option, with what was changed of it.

    Example:
        >>> option_name("maclip"), option_name("worst_tenth"), option_name("adaptive(alpha=2, base_sim=1)")
        ('MA-CLIP', 'worst tenth', 'adaptive (α = 2, base of similarity = 1)')
    """
    option, bracket, changed = name.partition("(")
    return OPTIONS.get(option, option.replace("_", " ")) + (f" ({variant_name(changed)}" if bracket else "")


def variant_name(name: str) -> str:
    """Return an ablation's variant in the field's signs.

    Example:
        >>> variant_name("lam=-0.50, base_sim=1"), variant_name("fixed, w_sim = 0.25"), variant_name("adaptive")
        ('λ = -0.50, base of similarity = 1', 'fixed, weight of similarity = 0.25', 'adaptive')
        >>> variant_name("pooling=worst_tenth"), variant_name("base_sim=0.4, base_mag=0")
        ('pooling = worst tenth', 'base of similarity minus base of magnitude = 0.4')
    """

    def shown(match: re.Match[str]) -> str:
        value = option_name(match[2]) if match[2] and match[1] in GROUPS else match[2] or ""
        return f"{SIGNS.get(match[1], match[1].replace('_', ' '))} = {value}"

    name = re.sub(
        r"\bbase_sim=(\S+), base_mag=0$", rf"{BASES} = \1", name.replace("without alpha", "without α")
    )
    return re.sub(r"\b([A-Za-z_]+) ?= ?([A-Za-z_]\w*)?", shown, name)


def statistic(key: str) -> str:
    """Return a statistic's name with the kind of PLCC."""
    return STATISTICS.get(key, key.replace("_", " "))


def column(key: str) -> str:
    """Return the heading of a column of any CSV.

    Example:
        >>> column("diff"), column("p_adjusted"), column("gmacs_512x384")
        ('Difference', 'p (adjusted)', 'GMACs, 512×384')
    """
    what, _, size = key.partition("_")
    if what == "rank":
        return f"Rank, {column(size).lower() if size != 'mos' else 'MOS'}"
    if re.fullmatch(r"\d+x\d+", size):
        return f"{column(what)}, {size.replace('x', '×')}"
    return capital(COLUMNS.get(key, parameter(key) if "." in key else key.replace("_", " ")))


def capital(text: str) -> str:
    """Return text with a capital letter at its start; signs and units such as p and ms stay.

    Example:
        >>> capital("adaptive"), capital("p (adjusted)")
        ('Adaptive', 'p (adjusted)')
    """
    return text[:1].upper() + text[1:] if len(re.split(r"\W", text)[0]) > 2 else text
