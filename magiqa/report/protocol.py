"""The protocol of a paper in the sentences that an author would write, and the full record for its supplement."""

from collections.abc import Mapping, Sequence
from typing import Any

from magiqa.report.captions import fit_words, method_words, unit
from magiqa.report.material import Material
from magiqa.report.methods import method_name, primary
from magiqa.report.references import METHODS, backbone_cite, cite, set_cite
from magiqa.report.words import (
    OWN_SENTENCES,
    backbone_name,
    label_name,
    set_facts,
    set_key,
    set_name,
    set_words,
)

Record = Mapping[str, Any]


def records_of(material: Material) -> list[Record]:
    """Return the records behind a paper: of runs, then of studies, each data set's and method's own."""
    return [r.record for r in material.runs] + [s.record for s in material.sheets if s.record.get("dataset")]


def _list(values: Sequence[str]) -> str:
    """Return distinct values as an enumeration in words."""
    some = list(dict.fromkeys(v for v in values if v))
    return some[0] if len(some) == 1 else ", ".join(some[:-1]) + " and " + some[-1] if some else ""


def protocol(material: Material) -> str:
    """Return the protocol of the main document in 300 words or fewer."""
    records = records_of(material)
    if not records:
        return ""
    return " ".join(
        [*_data(records), *_methods(material), *_backbones(records), *_statistics(material, records)]
    )


def _sets(records: Sequence[Record]) -> list[Record]:
    return list({set_key(r["dataset"]): r["dataset"] for r in records}.values())


def _data(records: Sequence[Record]) -> list[str]:
    sets = _sets(records)
    out = [f"We evaluate on {_list([set_words(data) + set_cite(data) for data in sets])}."]
    out += [OWN_SENTENCES["sample"]] if any(data.get("name") == "sample" for data in sets) else []
    other = [
        f"{set_name(d)} has {label_name(str(d['label']))} in place of MOS."
        for d in sets
        if d.get("label") != "mos"
    ]
    negated = [set_name(d) for d in sets if d.get("higher_is_better") is False]
    return (
        out
        + other
        + ([f"We negate the scores of {_list(negated)}, so that higher is better."] if negated else [])
    )


def _name(record: Record) -> str:
    """Return the user's name of a method, else a short one."""
    name = (record.get("config") or {}).get("name") or method_name(record, primary(record))
    return str(name).partition(" (")[0]


def _methods(material: Material) -> list[str]:
    """Return a sentence a method, of many the first three."""
    out: dict[str, str] = {}
    for run in material.runs:
        name, shown = method_name(run.record, primary(run.record)), _name(run.record)
        out.setdefault(f"{shown}{cite(METHODS.get(name, ''))} uses {_sentence(run.record)}.", "")
    more = f"The supplement lists the settings of all {len(out)} methods." if len(out) > 3 else ""
    return [*list(out)[:3], *([more] if more else [])]


def _sentence(record: Record) -> str:
    """Return prompts, views, magnitude and fusion of a method as an enumeration."""
    words = dict(part.partition(": ")[::2] for part in method_words(record).split("; "))
    texts = {
        "prompts": "{} prompts",
        "views": "{} views",
        "magnitude": "the magnitude cue {}",
        "fusion": "{} fusion",
    }
    named = []
    for key, value in words.items():
        option, bracket, facts = value.partition(" (")
        named.append(texts.get(key, f"{key} {{}}").format(option) + bracket + facts)
    return _list(named)


def _backbones(records: Sequence[Record]) -> list[str]:
    bones = {
        backbone_name(r["backbone"]): r["backbone"] for r in records if (r.get("backbone") or {}).get("name")
    }
    bones = {name: bone for name, bone in bones.items() if ", " not in str(bone["name"])}
    if not bones:
        return []
    plural = "s are" if len(bones) > 1 else " is"
    out = [
        f"The backbone{plural} {_list([name + backbone_cite(bone) for name, bone in list(bones.items())[:6]])}."
    ]
    out += [OWN_SENTENCES["demo"]] if any(b.get("kind") == "demo" for b in bones.values()) else []
    if any(bone.get("label") for bone in bones.values()):
        out.append("Numbers of such weights say nothing about published CLIP weights.")
    dropped = {str(b.get("positional_embedding")) for b in bones.values()} == {"drop"}
    return out + (["Images keep their size: the positional embedding is dropped."] if dropped else [])


def _statistics(material: Material, records: Sequence[Record]) -> list[str]:
    out = [
        "We report Spearman's rank correlation (SRCC) and Pearson's linear correlation (PLCC), both signed."
    ]
    if any(r.get("fits") for r in records):
        out.append(f"PLCC is computed after a {fit_words(records)} fit to MOS on the same images "
                   "[@sheikh2006statistical] and carries the sign of the raw PLCC.")  # fmt: skip
    units = _list([unit(r) for r in records])
    out.append(
        f"Intervals are 95 %, by {units}: from influence functions [@croux2010influence] or, for clusters of images, "
        "the jackknife."
    )
    if len(material.every_run) > 1:
        out.append("We mark methods whose SRCC is not significantly worse than the best, in paired tests on the same "
                   "images that are adjusted for all pairs.")  # fmt: skip
    if any(r.get("command") in ("ablate", "compare") for r in records):
        out.append("Paired differences are tested on the same images; p values are adjusted for all comparisons of a "
                   "table by the distribution of its largest t [@hothorn2008simultaneous].")  # fmt: skip
    return out


def full_protocol(material: Material) -> list[str]:
    """Return the paragraphs of the supplement: every setting, weight, data note, machine and version."""
    records = records_of(material)
    out = [f"{set_name(data)}: {set_facts(data)}." + "".join(f" {note}." for note in data.get("notes") or ())
           for data in _sets(records)]  # fmt: skip
    out += dict.fromkeys(f"{_name(r)}: {method_words(r)}." for r in records if r.get("choices"))
    bones = {
        str(b.get("weights_sha256")): b
        for r in records
        if (b := r.get("backbone") or {}).get("weights_sha256")
    }
    out += [f"Weights of {backbone_name(b)}: sha256 {sha[:16]}." for sha, b in bones.items()]
    engines = [r.get("engine") or {} for r in records]
    words = [" ".join(str(e[k]) for k in ("engine", "precision", "device") if e.get(k)) for e in engines]
    out += [f"Features were computed by {_list(words)}."] if any(words) else []
    seeds = sorted(
        {int(r["config"]["seed"]) for r in records if (r.get("config") or {}).get("seed") is not None}
    )
    out += [f"Seeds: {_list([str(seed) for seed in seeds])}."] if seeds else []
    versions: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in (record.get("versions") or {}).items():
            versions.setdefault(str(name), {})[str(version)] = None
    shown = ", ".join(f"{name} {' and '.join(some)}" for name, some in versions.items())
    return out + ([f"Versions: {shown}."] if shown else [])
