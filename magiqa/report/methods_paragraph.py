"""The methods paragraph of a paper, in sentences that the records hold; nothing that they do not."""

from collections.abc import Mapping, Sequence
from typing import Any

from magiqa.report.captions import method_words, unit
from magiqa.report.display_names import OWN, backbone_name, label_name, set_facts, set_name
from magiqa.runs.names import other_than_published

Record = Mapping[str, Any]


def methods_paragraph(
    records: Sequence[Record], *, tested: int | None = None, studies: Sequence[Record] = ()
) -> str:
    """Data, weights, computation, statistics and versions of runs.

    Args:
        records: of runs. tested: resamples of the test that marks the methods that may be the best; None: no table
            marks any. studies: records of ablations and comparisons, whose tests are told too.
    """
    sentences = [*_data(records), *_weights(records), *_options(records), *_computation(records)]
    sentences += [*_statistics(records, tested), *_tests(studies), *_versions(records)]
    return " ".join(sentences)


def _each(values: Sequence[str]) -> str:
    """Distinct values in words."""
    some = list(dict.fromkeys(v for v in values if v))
    return some[0] if len(some) == 1 else ", ".join(some[:-1]) + " and " + some[-1] if some else ""


def _data(records: Sequence[Record]) -> list[str]:
    out = []
    sets = {str(r["dataset"].get("fingerprint") or r["dataset"]): r for r in records}
    about = [f"{set_name(r['dataset'])} ({set_facts(r['dataset'], of_label=False)})" for r in sets.values()]
    out.append(f"Methods were evaluated on {_each(about)}.")
    out += [OWN["sample"]] if any(r["dataset"].get("name") == "sample" for r in sets.values()) else []
    for r in sets.values():
        data = r["dataset"]
        told = other_than_published(data.get("notes") or ())
        notes = [
            n for n in data.get("notes") or () if n not in told and not str(n).startswith("images resized")
        ]
        out += [f"{set_name(data)}: {note}." for note in notes]
    labels = _each([label_name(str(r["dataset"].get("label"))) for r in sets.values()])
    out.append(f"The label is {labels}, higher is better in all that follows.")
    return out


def _weights(records: Sequence[Record]) -> list[str]:
    bones = {str(r["backbone"].get("weights_sha256")): r["backbone"] for r in records if r.get("backbone")}
    about = [f"{backbone_name(b)}, sha256 {sha[:12]}" for sha, b in bones.items() if sha != "None"]
    out = [f"Weights: {_each(about)}."] if about else []
    out += [OWN["demo"]] if any(b.get("kind") == "demo" for b in bones.values()) else []
    if any(b.get("label") for b in bones.values()):
        out.append("Weights named otherwise than by a published tag are not published ones, and no number of theirs "
                   "stands for such.")  # fmt: skip
    positional = {str(b.get("positional_embedding")) for b in bones.values() if b.get("positional_embedding")}
    return out + ([f"Positional embedding: {_each(sorted(positional))}."] if positional else [])


def _options(records: Sequence[Record]) -> list[str]:
    words = dict.fromkeys(method_words(r) for r in records)
    several = len(words) > 1
    return [f"{f'Setting {k + 1}: ' if several else ''}{w}." for k, w in enumerate(words) if w]


def _computation(records: Sequence[Record]) -> list[str]:
    engines = [r.get("engine") or {} for r in records]
    words = [
        f"{e['engine']} in {e['precision']} on {e['device']}"
        for e in engines
        if {"engine", "precision", "device"} <= set(e)
    ]
    return [f"Features were computed by {_each(words)}."] if words else []


def _tests(studies: Sequence[Record]) -> list[str]:
    """How variants and methods were tested, and with how many resamples."""
    out = []
    for command, words in (
        ("ablate", "Variants of an ablation were compared with its reference"),
        ("compare", "Methods were compared in pairs"),
    ):
        some = [r for r in studies if r.get("command") == command]
        times = {int(r.get("resamples") or (r.get("config") or {}).get("resamples") or 0) for r in some} - {0}
        if times:
            many = _each([f"{one:,}" for one in sorted(times)])
            family = "variants" if command == "ablate" else "pairs of a statistic"
            out.append(
                f"{words} by a paired bootstrap on the same images ({many} resamples), p and bands adjusted for all "
                f"{family} at once by the maximum of the studentized differences (Westfall and Young, 1993)."
            )
    return out


def _statistics(records: Sequence[Record], tested: int | None) -> list[str]:
    out = ["SRCC and raw PLCC are signed and of the scores as they are."]
    fits = {str(f.get("method")) for r in records for f in (r.get("fits") or {}).values() if f}
    if fits:
        words = _each(sorted(fits))
        out.append(
            f"Statistics called fitted follow a logistic function fitted on the same images ({words})."
        )
    times = {int(r["config"]["resamples"]) for r in records if r.get("config", {}).get("resamples")}
    seeds = {int(r["config"]["seed"]) for r in records if r.get("config", {}).get("seed") is not None}
    units = _each([f"{unit(r)} ({set_name(r['dataset'])})" for r in records])
    if times:
        seed = f", seed {_each([str(one) for one in sorted(seeds)])}" if seeds else ""
        many = _each([f"{one:,}" for one in sorted(times)])
        out.append(f"Intervals are of the bootstrap, 95 %, {many} resamples of {units}{seed}.")
    if tested:
        out.append(
            "Marked methods form the 95 % model confidence set of the best (Hansen, Lunde and Nason, 2011), "
            f"from {tested:,} paired resamples of the same images."
        )
    return out


def _versions(records: Sequence[Record]) -> list[str]:
    found: dict[str, list[str]] = {}
    for record in records:
        for name, version in (record.get("versions") or {}).items():
            if str(version) not in found.setdefault(str(name), []):
                found[str(name)].append(str(version))
    words = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in found.items())
    return [f"Versions: {words}."] if words else []


def run_times(records: Sequence[Record]) -> list[tuple[str, str, str, str, int, float]]:
    """(set, views' option, backbone, engine, views, milliseconds a view) of runs that encoded something themselves."""
    out = []
    for record in records:
        views = int((record.get("cache") or {}).get("views_encoded") or 0)
        seconds = (record.get("seconds") or {}).get("encode")
        engine = record.get("engine") or {}
        if views and seconds:
            words = " ".join(str(engine.get(k)) for k in ("engine", "precision", "device") if engine.get(k))
            kind = str((record.get("choices") or {}).get("views", ""))
            ms = 1000 * float(seconds) / views
            out.append(
                (set_name(record["dataset"]), kind, backbone_name(record["backbone"]), words, views, ms)
            )
    return out
