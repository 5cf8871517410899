"""A bundle in place of images and weights."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from magiqa.datasets.base import Labels
from magiqa.errors import UserError
from magiqa.features.bundle import open_bundle
from magiqa.features.features import Features
from magiqa.features.images import Images
from magiqa.method.prompts import PromptSet
from magiqa.runs.config import RunConfig
from magiqa.runs.names import other_than_published
from magiqa.runs.portable import portable
from magiqa.runs.provenance import Clock


class BundleSource:
    """Features that a bundle holds: see `magiqa.features.source.Source`.

    Raises:
        UserError: a damaged file; a job that asks for other features than the bundle holds.
    """

    def __init__(self, job: RunConfig, clock: Clock) -> None:
        assert job.source.bundle is not None
        self.name, self.clock = job.source.bundle, clock
        with clock.stage("bundle"):
            self.bundle = open_bundle(self.name)
        header, config = self.bundle.header, self.bundle.header.config.given
        if (
            portable({"dataset": job.config.get("dataset", config["dataset"])})["dataset"]
            != config["dataset"]
        ):
            raise UserError(
                f"bundle={self.name}: holds the data set {header.labels.name} with its labels; leave out dataset="
            )
        method, machine = job.method, job.machine
        self._check("backbone.", portable({"backbone": asdict(method.backbone)})["backbone"], header.backbone)
        claims = {name: value for name, value in header.record.views.plain().items() if name != "count"}
        self._check("views.", dict.fromkeys(claims) | method.views.plain(), claims)
        self._check("", {"precision": machine.precision, "engine": machine.engine}, config)

    def _check(self, group: str, asked: Mapping[str, Any], has: Mapping[str, Any]) -> None:
        for name, value in asked.items():
            if value != has.get(name):
                raise UserError(
                    f"bundle={self.name}: holds features of {group}{name}={has.get(name)}, not {value}; "
                    "other features need the images and weights"
                )

    def labels(self) -> Labels:
        """Return the labels that the header holds."""
        header = self.bundle.header
        labels = Labels(table=header.frame(), **header.labels.facts())
        self.clock.warnings += [f"{labels.name}: {note}" for note in other_than_published(labels.notes)]
        return labels

    def images(self, labels: Labels) -> Images:
        """Return the header's images."""
        header = self.bundle.header
        return Images(labels.table, list(header.images), [image.plain() for image in header.skipped])

    def weights(self) -> None:
        """Return nothing: a bundle holds no weights."""

    def features(self, labels: Labels, images: Images, weights: None) -> Features:
        """Return the bundle's features."""
        header = self.bundle.header
        made = {"magiqa": header.magiqa, "code_sha256": header.code_sha256}
        record = header.record.plain() | {"bundle": made}
        features = self.bundle.features
        return Features(labels, images.table, features, images.sha256, images.skipped, record, self._text)

    def _text(self, prompts: PromptSet) -> tuple[np.ndarray, float]:
        text, scale = self.bundle.text()
        places = {name: i for i, name in enumerate(self.bundle.header.text_names)}
        missing = next((name for name in prompts.text_names if name not in places), None)
        if missing is not None:
            raise UserError(
                f"bundle={self.name}: holds no embedding of the prompt {missing!r}, which would need the weights; use "
                "its own prompts, or pack it with that prompt set"
            )
        return text[[places[name] for name in prompts.text_names]], scale
