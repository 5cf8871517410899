"""Ablations: variants of a run that share cached features.

A variant is a mapping of overrides (``{"magnitude.lam": 0.5}``), so an ablation is plain data and nothing is
registered. Variants that share features are computed in one pass over the cache: similarities once a prompt set,
log1p once for all lambdas, whole images at a time, so that no data set ever lies in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from magiqa.backbones.checkpoint import LackingWeights
from magiqa.backbones.weights import find_weights
from magiqa.checked import Checked
from magiqa.errors import UserError
from magiqa.method.presets import GROUPS
from magiqa.package import expanded
from magiqa.runs.config import RunConfig
from magiqa.runs.record import Clock

Compose = Callable[[list[str]], RunConfig]

TOP = ("pooling", "precision", "engine")


@dataclass(frozen=True)
class Ablation(Checked, key="ablation"):
    """An ablation: the keys that vary and their values.

    Args:
        name: for folders and titles.
        axes: key -> values; their product makes the variants. A key is a config group (``magnitude``: names of
            options), one of its fields (``magnitude.lam``), or ``pooling``, ``precision``, ``engine``. Values are a
            list, ``{start, stop, step}`` (both ends included), or for ``prompts.pairs`` the word ``each``: each pair
            of the configured set alone.
        variants: a list of mappings of the same keys, beside or instead of ``axes``; ``name`` names a variant.
        reference: the overrides of the variant that all others are compared with; the run as configured by default.
        score: ``q``, ``q_sim`` or ``q_mag``.
    """

    name: str
    axes: Mapping[str, Any] = field(default_factory=dict)
    variants: Sequence[Mapping[str, Any]] = ()
    reference: Mapping[str, Any] = field(default_factory=dict)
    score: Literal["q", "q_sim", "q_mag"] = "q"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise UserError("ablation.name is empty: give a name, for folders and titles")
        if not self.axes and not self.variants:
            raise UserError(f"ablation {self.name}: neither axes nor variants are given; nothing varies")
        for key in [*self.axes, *self.reference, *(k for v in self.variants for k in v if k != "name")]:
            group, _, leaf = str(key).partition(".")
            if group not in GROUPS and (leaf or group not in (*TOP, "method")):
                raise UserError(
                    f"ablation {self.name}: {key} cannot vary here; use {', '.join(GROUPS)}, a field of theirs "
                    f"(magnitude.lam), {', '.join(TOP)}; data sets vary with -m dataset=a,b"
                )
        for key, values in self.axes.items():
            _values(self.name, key, values, [])


@dataclass(frozen=True)
class Variant:
    """A variant: its name, its overrides and the job that they make."""

    name: str
    overrides: dict[str, Any]
    job: RunConfig


def _values(name: str, key: str, values: Any, pairs: Sequence[Any]) -> list[Any]:
    """Return the values of an axis."""
    where = f"ablation {name}: axes.{key}"
    if values == "each" and key == "prompts.pairs":
        return [[pair] for pair in pairs]
    if isinstance(values, Mapping):
        try:
            start, stop, step = (float(values[k]) for k in ("start", "stop", "step"))
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{where} needs start, stop and step, three numbers, not {dict(values)}"
            ) from None
        if not (np.isfinite([start, stop, step]).all() and step > 0 and stop >= start):
            raise UserError(f"{where}: step must be above 0 and stop not below start")
        # rounded, so that 0.5 is 0.5 and 0 is 0
        return [round(start + k * step, 10) + 0.0 for k in range(int(round((stop - start) / step, 6)) + 1)]
    if not isinstance(values, list | tuple) or not values:
        raise UserError(f"{where} must be a list of values or {{start, stop, step}}")
    return list(values)


def shown(value: Any) -> str:
    """Return a value as it stands in a variant's name."""
    if isinstance(value, list | tuple):
        return " | ".join(
            shown(v) if not isinstance(v, list | tuple) else " / ".join(map(str, v)) for v in value
        )
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(overrides: Mapping[str, Any]) -> str:
    keys = [k for k in overrides if k != "name"]
    return ", ".join(f"{k.rpartition('.')[2]}={shown(overrides[k])}" for k in keys) or "as configured"


def override(job: RunConfig, overrides: Mapping[str, Any], compose: Compose | None = None) -> RunConfig:
    """Return the job with overrides: first composed options of groups, then fields.

    Raises:
        UserError: a field that does not exist, a value that the config refuses, an option without ``compose``.
    """
    options = {k: v for k, v in overrides.items() if k in (*GROUPS, "method")}
    if options:
        if compose is None:
            raise UserError(f"{next(iter(options))}={next(iter(options.values()))}: options need the configs")
        composed = compose([f"{k}={v}" for k, v in options.items()])
        parts = GROUPS if "method" in options else options
        job = job.having(
            **{k: composed.get(k) for k in parts},
            choices=job.choices | {k: composed.choices[k] for k in parts},
        )
    changed: dict[str, Any] = {}
    for key, value in overrides.items():
        group, _, leaf = key.partition(".")
        if leaf:
            part = changed.get(group, job.get(group))
            names = [f.name for f in fields(part)] if is_dataclass(part) else []
            if leaf not in names:
                raise UserError(f"{key}: {type(part).__name__} has no such field, only {', '.join(names)}")
            changed[group] = replace(part, **{leaf: tuple(value) if isinstance(value, list) else value})
        elif key not in (*options, "name"):
            changed[key] = value
    return job.having(**changed) if changed else job


def expand(job: RunConfig, compose: Compose | None = None) -> tuple[list[Variant], int]:
    """Return the variants of ``job.ablation`` and the position of their reference.

    Raises:
        UserError: no ablation chosen, a name twice, anything that `override` refuses.
    """
    ablation: Ablation | None = job.ablation
    if ablation is None:
        raise UserError("ablation is not set: add ablation=NAME, one of the options that --help lists")
    axes = {k: _values(ablation.name, k, v, job.method.prompts.pairs) for k, v in ablation.axes.items()}
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    points += [dict(v) for v in ablation.variants]
    reference = dict(ablation.reference)
    bare = [{k: v for k, v in p.items() if k != "name"} for p in points]
    if reference in bare:
        position = bare.index(reference)
    else:
        position, points = 0, [reference, *points]
    names = [str(p.get("name") or _name(p)) for p in points]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise UserError(
            f"ablation {ablation.name}: two variants are named {twice}; give one a name: of its own"
        )
    out = []
    for name, point in zip(names, points, strict=True):
        try:
            varied = override(job, point, compose)
        except UserError as error:
            raise UserError(f"ablation {ablation.name}, variant {name}: {error}") from None
        out.append(Variant(name, {k: v for k, v in point.items() if k != "name"}, varied))
    return out, position


def study_folder(job: RunConfig, kind: str, name: str) -> Path:
    """Return the folder of the results of an ablation or experiment."""
    return expanded(job.output.out) if job.output.out else Path("results") / kind / f"{name}-{job.name}"


def available(
    name: str, variants: Sequence[Variant], reference: int, clock: Clock
) -> tuple[list[Variant], int, dict[str, str]]:
    """Leave out the variants whose weights cannot be had, where several backbones are compared.

    Args:
        name: of the ablation. reference: the reference's position. clock: takes a warning for what is left out.

    Returns:
        The variants, the position of their reference, and the reason for each that is left out.

    Raises:
        UserError: fewer than two are left.
    """
    needs = {v.name: (v.job.method.backbone, v.job.method.prompts) for v in variants}
    if len({backbone for backbone, _ in needs.values()}) < 2 or variants[0].job.source.bundle:
        return list(variants), reference, {}
    reasons: dict[object, str] = {}
    for need in dict.fromkeys(needs.values()):
        try:
            find_weights(*need)
        except LackingWeights as error:
            reasons[need] = str(error)
    lacking = {name: reasons[need] for name, need in needs.items() if need in reasons}
    if not lacking:
        return list(variants), reference, {}
    rest = [v for v in variants if v.name not in lacking]
    remark, reason = f"variants without weights: {', '.join(lacking)}", next(iter(lacking.values()))
    if len(rest) < 2:
        raise UserError(f"ablation {name}: {remark}; nothing is left to compare. {reason}")
    clock.warnings.append(f"{remark}; left out ({reason})")
    if variants[reference] in rest:
        return rest, rest.index(variants[reference]), lacking
    clock.warnings.append(
        f"the reference {variants[reference].name} is among them; {rest[0].name} replaces it"
    )
    return rest, 0, lacking
