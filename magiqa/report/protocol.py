"""The protocol of a paper in the sentences that an author would write, and the full record for its supplement.

``[@key]`` cites an entry of `assets/references.bib`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from magiqa.method.presets import presets
from magiqa.package import conf_dir
from magiqa.report.material import Material
from magiqa.report.methods import fit_words, method_name, method_names, primary
from magiqa.report.words import (
    OWN_SENTENCES,
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
    "prompts": "{} prompts",
    "views": "{} views",
    "magnitude": "the magnitude cue {}",
    "fusion": "{} fusion",
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


def protocol(material: Material) -> str:
    """Return the protocol of the main document in 300 words or fewer."""
    records = records_of(material)
    if not records:
        return ""
    return " ".join(
        [*_data(_sets(records)), *_methods(material), *_backbones(records), *_statistics(material, records)]
    )


def _sets(records: Sequence[Record]) -> list[Record]:
    return list({set_key(r["dataset"]): r["dataset"] for r in records}.values())


def _data(sets: Sequence[Record]) -> list[str]:
    out = [f"We evaluate on {enumeration(set_words(data) + cite(SETS.get(data['name'])) for data in sets)}."]
    subsets = enumeration(f"{d['n']:,} of the {d['expected']:,} images of {set_name(d)}" for d in sets
                          if d["n"] < (d.get("expected") or 0))  # fmt: skip
    out += [f"We use subsets: {subsets}."] if subsets else []
    out += [OWN_SENTENCES["sample"]] if any(data["name"] == "sample" for data in sets) else []
    out += [
        f"{set_name(d)} has {label_name(d['label'])} in place of MOS." for d in sets if d["label"] != "mos"
    ]
    negated = enumeration(set_name(d) for d in sets if d.get("higher_is_better") is False)
    return out + ([f"We negate the scores of {negated}, so that higher is better."] if negated else [])


def _name(record: Record) -> str:
    """Return the user's name of a method, else a short one."""
    name = (record.get("config") or {}).get("name") or method_name(record, primary(record))
    return str(name).partition(" (")[0]


def _methods(material: Material) -> list[str]:
    """Return a sentence a method, of many the first three, and one on scores of other programs."""
    out: dict[str, None] = {}
    for record in (run.record for run in material.runs):
        unused = UNUSED.get(primary(record), ())
        parts = [PHRASES.get(key, f"{key} {{}}").format(*value.split(" (", 1)[:1]) + "".join(value.partition(" (")[1:])
                 for key, value in method_parts(record).items() if key not in unused]  # fmt: skip
        name = method_name(record, primary(record))
        sources = [re.search(r"arXiv:([\d.]+)", p.paper) for p in presets().values() if p.title == name]
        key = f"arxiv{sources[0][1]}" if sources and sources[0] else ""
        out[f"{_name(record)}{cite(key)} uses {enumeration(parts)}."] = None
    names = enumeration(
        method_names([(r.name, r.record, "q") for r in material.others], material.asked.names)
    )
    others = [f"Scores of {names} come from files of other programs, matched by image."] if names else []
    return [*list(out)[:3], *others]


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
                   "[@sheikh2006statistical] and carries the sign of the raw PLCC.")  # fmt: skip
    clusters = enumeration(str(r["dataset"].get("cluster") or "") for r in records)
    out.append("Intervals are 95 %, from influence functions [@croux2010influence]"
               + (f" or, where images are clustered by {clusters}, the jackknife." if clusters else "."))  # fmt: skip
    if len(material.every_run) > 1:
        out.append("We mark methods whose SRCC is not significantly worse than the best, in paired tests on the same "
                   "images that are adjusted for all pairs.")  # fmt: skip
    if any(r.get("command") in ("ablate", "compare") for r in records):
        out.append("Paired differences are tested on the same images; p values are adjusted for all comparisons of a "
                   "table by the distribution of its largest t [@hothorn2008simultaneous].")  # fmt: skip
    return [*out, "The supplement holds the settings of all methods, and all other exhibits."]


def full_protocol(material: Material) -> list[str]:
    """Return the paragraphs of the supplement: every setting, weight, data note, machine and version."""
    records = records_of(material)
    out = []
    for data in _sets(records):
        notes = [note for note in data.get("notes") or () if note not in set_facts(data)]
        out.append(" ".join(f"{text}." for text in (f"{set_name(data)}: {set_facts(data)}", *notes)))
    out += dict.fromkeys(f"{_name(r)}: {'; '.join(f'{k}: {v}' for k, v in method_parts(r).items())}."
                         for r in records if r.get("choices"))  # fmt: skip
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
    return out + ([f"Versions: {shown}."] if shown else [])
