"""The protocol of a paper in the sentences that an author would write, and the full record for its supplement.

``[@key]`` cites an entry of `assets/references.bib`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from magiqa.method.presets import presets
from magiqa.package import conf_dir
from magiqa.report.escape import uncited
from magiqa.report.material import Material
from magiqa.report.methods import FEW, fit_words, method_name, method_names, primary
from magiqa.report.words import (
    OWN_SENTENCES,
    SCORES,
    backbone_name,
    label_name,
    option_name,
    parameter,
    set_facts,
    set_key,
    set_name,
    set_words,
    short_label,
)
from magiqa.runs.read import pooling

Record = Mapping[str, Any]

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

VIEWS = {"global": "the resized image", "whole": "the image at its own size"}

PHRASES = {
    "prompts": "{} prompts{}",
    "views": "{1}",
    "magnitude": "the {} magnitude{}",
    "fusion": "{} fusion{}",
}

UNUSED = {"q_sim": ("magnitude", "fusion"), "q_mag": ("prompts", "fusion")}  # by a run of one cue


def cite(key: str | None) -> str:
    """Return a citation as text holds it; empty without a key.

    Example:
        >>> cite("koniq"), cite("")
        (' [@koniq]', '')
    """
    return f" [@{key}]" if key else ""


def backbone_cite(bone: Record) -> str:
    """Return the citation of published weights: OpenAI's CLIP or OpenCLIP's."""
    key = "radford2021clip" if bone.get("pretrained") == "openai" else "cherti2023openclip"
    return cite(key) if bone.get("kind") == "published" else ""


def enumeration(values: Iterable[str]) -> str:
    """Return distinct values as an enumeration in words."""
    some = list(dict.fromkeys(filter(None, values)))
    return " and ".join(filter(None, [", ".join(some[:-1]), *some[-1:]]))


def method_parts(record: Record) -> dict[str, str]:
    """Return all that makes a method, with the parameters that the record holds.

    Example:
        >>> method_parts({"choices": {"fusion": "fixed"}, "config": {"fusion": {"w_sim": 0.5}}})
        {'fusion': 'fixed (weight of similarity = 0.5)'}
    """
    config, changed = record.get("config") or {}, record.get("changed") or {}
    out = {}
    for group in PHRASES.keys() & (record.get("choices") or {}).keys():
        words = {"prompts": _prompts, "views": _views}.get(group, _numbers)
        facts = words(config.get(group) or {}, record)
        out[group] = option_name(str(record["choices"][group])) + (f" ({facts})" if facts else "")
    rest = {
        "pooling": pooling(config),
        "positional embedding": (record.get("backbone") or {}).get("positional_embedding"),
        "precision": (record.get("engine") or {}).get("precision"),
        **{key.rpartition(".")[2]: changed.get(key) for key in ("views.small", "fit", "seed")},
    }
    return {g: out[g] for g in PHRASES if g in out} | {
        key: str(value) for key, value in rest.items() if value not in (None, "", "drop", "fp32")
    }


def _prompts(part: Record, record: Record) -> str:
    """Return the count of prompt pairs; the texts of the user's own, of many the first and a hash of all."""
    texts = [" / ".join(map(str, pair)) for pair in part.get("pairs") or ()]
    count = f"{len(texts)} pair{'s' * (len(texts) != 1)}"
    packaged = (conf_dir() / "prompts" / f"{record['choices']['prompts']}.yaml").is_file()
    if not texts or (packaged and "prompts.pairs" not in (record.get("changed") or {})):
        return count if texts else ""
    key = hashlib.sha256(repr(texts).encode()).hexdigest()[:6]
    return "; ".join([count, *(texts if len(texts) <= 3 else [texts[0], f"..., sha256 {key}"])])


def _views(part: Record, record: Record) -> str:
    windows = f"{part.get('window')}-pixel windows"
    windows += f" at stride {part['stride']}" if part.get("stride") is not None else ""
    windows += " and flush with the far edges" if part.get("cover") else ""
    return " and ".join(
        {"windows": windows, **VIEWS}.get(kind, str(kind)) for kind in part.get("kinds") or ()
    )


def _numbers(part: Record, record: Record) -> str:
    numbers = {k: v for k, v in part.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return ", ".join(f"{parameter(k)} = {v:g}" for k, v in numbers.items())


def records_of(material: Material) -> list[Record]:
    """Return the records behind a paper: of runs, then of studies, each data set's and method's own."""
    return [r.record for r in material.runs] + [s.record for s in material.sheets if s.record.get("dataset")]


def protocol(material: Material) -> dict[str, str]:
    """Return the paragraphs of the main document by heading, in 300 words or fewer."""
    records = records_of(material)
    if not records:
        return {}
    parts = {
        "Data sets": _data(_sets([run.record for run in material.runs] or records)),
        "Methods": [*_methods(material)[:3], *_others(material), *_backbones(records)],
        "Evaluation": _statistics(material, records),
    }
    return {name: " ".join(sentences) for name, sentences in parts.items()}


def _sets(records: Sequence[Record]) -> list[Record]:
    return list({set_key(r["dataset"]): r["dataset"] for r in records}.values())


def _data(sets: Sequence[Record]) -> list[str]:
    out = [f"We evaluate on {enumeration(set_words(data) + cite(SETS.get(data['name'])) for data in sets)}."]
    subsets = enumeration(f"{d['n']:,} of the {d['expected']:,} images of {set_name(d)}" for d in sets
                          if d["n"] < (d.get("expected") or 0))  # fmt: skip
    out += [f"We use subsets: {subsets}."] if subsets else []
    out += [OWN_SENTENCES["sample"]] if any(data["name"] == "sample" for data in sets) else []
    out += [
        f"On {set_name(d)}, {label_name(d['label'])} stands in for MOS." for d in sets if d["label"] != "mos"
    ]
    negated = enumeration(set_name(d) for d in sets if d.get("higher_is_better") is False)
    return out + ([f"We negate the scores of {negated}, so that higher is better."] if negated else [])


def _name(record: Record) -> str:
    """Return the user's name of a method, else a short one."""
    name = (record.get("config") or {}).get("name") or method_name(record, primary(record))
    return str(name).partition(" (")[0]


def _methods(material: Material) -> list[str]:
    """Return a sentence a method."""
    out: dict[str, None] = {}
    for record in (run.record for run in material.runs):
        unused = UNUSED.get(primary(record), ())
        parts = []
        for key, value in method_parts(record).items():
            option, bracket, facts = value.partition(" (")
            facts = (facts.removesuffix(")") or f"{option} views") if key == "views" else bracket + facts
            parts += [] if key in unused else [PHRASES.get(key, f"{key} {{}}{{}}").format(option, facts)]
        name = method_name(record, primary(record))
        sources = [re.search(r"arXiv:([\d.]+)", p.paper) for p in presets().values() if p.title == name]
        key = f"arxiv{sources[0][1]}" if sources and sources[0] else ""
        name = _name(record) if _name(record) not in SCORES.values() else f"The {_name(record).lower()} alone"
        out[f"{name}{cite(key)} uses {enumeration(parts)}."] = None
    return list(out)


def _others(material: Material) -> list[str]:
    """Return the sentence on scores of other programs."""
    names = enumeration(
        method_names([(r.name, r.record, "q") for r in material.others], material.asked.names)
    )
    return [f"Scores of {names} come from files of other programs, matched by image."] if names else []


def _backbones(records: Sequence[Record]) -> list[str]:
    bones = {
        backbone_name(b): b
        for r in records
        if (b := r.get("backbone") or {}).get("name") and ", " not in b["name"]
    }
    if not bones:
        return []
    names = [name + backbone_cite(bone) for name, bone in list(bones.items())[:6]]
    out = [f"The backbone{'s are' if len(bones) > 1 else ' is'} {enumeration(names)}."]
    out += [OWN_SENTENCES["demo"]] if any(b.get("kind") == "demo" for b in bones.values()) else []
    if any(bone.get("label") for bone in bones.values()):
        out.append("Numbers of such weights say nothing about published CLIP weights.")
    dropped = {str(b.get("positional_embedding")) for b in bones.values()} == {"drop"}
    return out + (["Images keep their size: the positional embedding is dropped."] if dropped else [])


def _statistics(material: Material, records: Sequence[Record]) -> list[str]:
    out = [
        "We report Spearman's rank correlation (SRCC) and Pearson's linear correlation (PLCC), both signed."
    ]
    fitted = [r for r in records if r.get("fits")]
    if fitted:
        labels = " or ".join(dict.fromkeys(short_label(r["dataset"]["label"]) for r in fitted))
        out.append(f"PLCC is computed after a {fit_words(records)} fit to {labels} on the same images "
                   "[@vqeg2000] and carries the sign of the raw PLCC.")  # fmt: skip
        few = min(r["dataset"]["n"] for r in fitted) < FEW
        out += [f"On fewer than {FEW} images the fit itself raises PLCC."] if few else []
    if any(r.get("command") in ("ablate", "compare") for r in records):
        out.append("PLCC (raw) is computed without a fit.")
    clusters = enumeration(str(r["dataset"].get("cluster") or "") for r in records)
    out.append("Intervals are 95 %, from influence functions [@croux2010influence]"
               + (f" or, where images are clustered by {clusters}, the jackknife." if clusters else "."))  # fmt: skip
    if len(material.every_run) > 1:
        out.append("We mark methods whose SRCC is not significantly worse than the best, in paired tests on the same "
                   "images that are adjusted for all pairs.")  # fmt: skip
    if any(r.get("command") in ("ablate", "compare") for r in records):
        out.append("Paired differences are tested on the same images; p values are adjusted within a data set and "
                   "statistic by the distribution of the largest t [@hothorn2008simultaneous].")  # fmt: skip
    return [*out, "The supplement holds the settings of all methods and further results."]


def full_protocol(material: Material) -> dict[str, str]:
    """Return the paragraphs of the supplement by heading: every setting, weight, data note, machine and version."""
    records = records_of(material)
    parts: dict[str, str] = {}
    for data in _sets(records):
        name, facts = set_name(data), set_facts(data)
        notes = [n for n in data.get("notes") or () if n not in facts and not n.startswith("images resized")]
        parts[name] = f"{parts.get(name, '')} {'; '.join([facts, *notes])}.".strip()
    out = []
    bones = {
        str(b["weights_sha256"]): b for r in records if (b := r.get("backbone") or {}).get("weights_sha256")
    }
    out += [f"Weights of {backbone_name(b)}: sha256 {sha[:16]}." for sha, b in bones.items()]
    engines = [r["engine"] for r in records if r.get("engine")]
    words = enumeration(
        " ".join(str(e[k]) for k in ("engine", "precision", "device") if e.get(k)) for e in engines
    )
    out += [f"Features were computed by {words}."] if words else []
    seeds = sorted({r["config"]["seed"] for r in records if (r.get("config") or {}).get("seed") is not None})
    out += [f"Seeds: {enumeration(map(str, seeds))}."] if seeds else []
    versions: dict[str, dict[str, None]] = {}
    for name, version in (item for r in records for item in (r.get("versions") or {}).items()):
        versions.setdefault(str(name), {})[str(version)] = None
    shown = ", ".join(f"{name} {' and '.join(some)}" for name, some in versions.items())
    out += [f"Versions: {shown}."] if shown else []
    return parts | {"Methods": uncited(" ".join(_methods(material))), "Computation": " ".join(out)}
