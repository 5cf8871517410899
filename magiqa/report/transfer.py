"""Leave one data set out: the variant of an ablation that is best on the other data sets, and what it gains here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from magiqa.report.ablation_exhibits import ablations
from magiqa.report.exhibit import Exhibit
from magiqa.report.material import Material
from magiqa.report.methods import ablation_title, score_name, settings, weights_note
from magiqa.report.table import VALUES, frame_table
from magiqa.report.words import capital, column, set_name, short_label
from magiqa.runs.read import Sheet

SHOWN = (
    "dataset",
    "n",
    "srcc_reference",
    "chosen_on_others",
    "gain_chosen",
    "best_here",
    "gain_best",
    "shortfall",
)


def transfer(done: Sequence[tuple[pd.DataFrame, Mapping[str, Any]]]) -> pd.DataFrame:
    """Leave one data set out: the variant that is best on the others, and what it gains on the one left out.

    Args:
        done: table and record of the same ablation on several data sets. Sets of different labels are never mixed: a
            gain in SSIM says nothing of one in MOS. A set that is alone with its label has no row. Nor have sets that
            differ in their variants.

    Returns:
        A row a data set: the variant chosen on the others (by its mean gain over the reference), its gain here, the
        gain of the variant that is best here, and the shortfall between the two: of picking on the same images, and
        of sets that differ in what is best.
    """
    names = [f"{r['dataset']['name']} {r['dataset']['variant']}".strip() for _, r in done]
    if len(set(names)) < len(names) or len({tuple(table["variant"]) for table, _ in done}) > 1:
        return pd.DataFrame()
    gains = pd.DataFrame(
        {n: t.set_index("variant")["diff"] for n, (t, _) in zip(names, done, strict=True)}
    ).dropna()
    rows: list[dict[str, Any]] = []
    labels = dict(zip(names, (r["dataset"]["label"] for _, r in done), strict=True))
    for name, (table, record) in zip(names, done, strict=True):
        others = gains[[n for n in names if n != name and labels[n] == labels[name]]]
        if others.empty:
            continue
        chosen, own = others.mean(axis=1).idxmax(), gains[name].idxmax()
        rows.append(
            {
                "dataset": name,
                "label": labels[name],
                "n": record["dataset"]["n"],
                "weights": record["backbone"]["label"] or record["backbone"]["kind"],
                "reference": record["ablation"]["reference"],
                "srcc_reference": table.set_index("variant")["srcc"][record["ablation"]["reference"]],
                "chosen_on_others": chosen,
                "gain_chosen": gains.loc[chosen, name],
                "best_here": own,
                "gain_best": gains.loc[own, name],
                "shortfall": gains.loc[own, name] - gains.loc[chosen, name],
            }
        )
    return pd.DataFrame(rows)


def left_out(material: Material) -> Iterator[Exhibit]:
    """The variants of each ablation that are best on the other data sets of its sweep, and of those run apart from it.

    The table is computed anew where the same ablation ran on more data sets with the same label.
    """
    for sheet in (s for s in material.sheets if s.record.get("command") == "ablate -m"):
        name = sheet.file.stem.removesuffix("-left_out")
        some = [s for s in ablations(material.sheets) if s.record["ablation"]["name"] == name]
        swept, labels = set(sheet.table["dataset"]), set(sheet.table["label"])
        done = [(s.table, s.record) for s in some if s.record["dataset"]["label"] in labels]
        table = transfer(done) if done else pd.DataFrame()
        whole = not table.empty and swept <= set(table["dataset"]) and _one_method(done)
        apart = [set_name(r["dataset"]) for _, r in done if _key(r) not in swept]
        yield _exhibit(sheet, table if whole else sheet.table, some, apart, whole)


def _key(record: Mapping[str, Any]) -> str:
    return f"{record['dataset']['name']} {record['dataset']['variant']}".strip()


def _one_method(done: Sequence[tuple[pd.DataFrame, Mapping[str, Any]]]) -> bool:
    """Return whether all ablations vary one method with one backbone."""
    return len({(r["backbone"].get("weights_sha256"), settings(r, ("dataset",))) for _, r in done}) == 1


def _exhibit(
    sheet: Sheet, table: pd.DataFrame, some: Sequence[Sheet], apart: Sequence[str], whole: bool
) -> Exhibit:
    """Return the table of one ablation.

    Args:
        some: the ablation on each data set. apart: data sets that were run apart from the sweep; with ``whole`` they
            have rows.
    """
    name = sheet.file.stem.removesuffix("-left_out")
    records = [s.record for s in some if _key(s.record) in set(table["dataset"])]
    title = f"{ablation_title({'name': name})} chosen on the other data sets (leave one data set out)"
    if records:
        score = str(records[0]["ablation"].get("score") or "q")
        title += f": SRCC of {score_name(records[0], score)}. {weights_note(records)}".rstrip()
    title = f"{title.rstrip('.')}."
    words = {k: VALUES[k] for k in ("dataset", "chosen_on_others", "best_here")}
    frame = table.assign(**{k: table[k].map(word).map(capital) for k, word in words.items()})
    missing = {set_name(s.record["dataset"]): short_label(s.record["dataset"]["label"]) for s in some
               if s.record["dataset"]["label"] not in set(table["label"])}  # fmt: skip
    missing |= {} if whole else dict.fromkeys(apart, "run apart from this sweep")
    notes = ["Gains are in SRCC, each of the variant at its left. Shortfall: the gain of the best on this data set "
             "minus that of the variant chosen on the others."]  # fmt: skip
    notes += [f"Run apart from the sweep of the others: {', '.join(apart)}."] if whole and apart else []
    notes += [f"Not among them: {'; '.join(f'{k} ({v})' for k, v in missing.items())}."] if missing else []
    shown = frame_table(frame, {k: column(k) for k in SHOWN}, name=sheet.name, title=title)
    shown = replace(shown, data=table, notes=notes)
    return Exhibit("details", sheet.name, title, shown, of=sheet.result)
