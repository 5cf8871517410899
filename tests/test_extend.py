"""A reader, a fusion and a statistic from outside the package take part in a run."""

import numpy as np
import pandas as pd
import pytest
import tiny

from magiqa.cli.main import main
from magiqa.stats.agreement import STATISTICS, Estimate, Statistic

MODULE = """
from dataclasses import dataclass
import pandas as pd
from magiqa.datasets.base import DataSet


@dataclass(frozen=True)
class Mine(DataSet, name="mine", title="Mine"):
    def load(self):
        file = self.find_file("labels.csv")
        table = pd.read_csv(file)
        columns = {"image": table["image"], "mos": table["mos"], "group": table["gen"]}
        return self.labels(file, [file.parent], columns)


@dataclass(frozen=True)
class Geometric:
    w: float = 0.5

    def __call__(self, q_sim, q_mag):
        return q_sim**self.w * q_mag ** (1 - self.w), 0 * q_sim + self.w
"""


@pytest.mark.slow
def test_parts_from_outside_the_package_take_part_in_a_run(tmp_path, monkeypatch):
    folder = tiny.make(tmp_path)
    (tmp_path / "extension_of_mine.py").write_text(MODULE)
    for group, target in (("dataset", "Mine\nroot: ???"), ("fusion", "Geometric\nw: 0.5")):
        (tmp_path / "conf" / group).mkdir(parents=True)
        text = f"_target_: extension_of_mine.{target}\n"
        (tmp_path / "conf" / group / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    spread = Statistic("spread", "Spread", lambda sample: Estimate(float(np.ptp(sample.x)), n=len(sample.x)))
    monkeypatch.setitem(STATISTICS, "spread", spread)
    own = [o for o in tiny.overrides(folder) if not o.startswith("dataset")]
    own += ["dataset=mine", f"dataset.root={folder / 'set'}", "fusion=mine", "views.kinds=[global]"]
    assert main(["evaluate", *own, "out=o"]) == 0
    scores = pd.read_csv("o/scores.csv")
    np.testing.assert_allclose(scores["q"], np.sqrt(scores["q_sim"] * scores["q_mag"]))
    rows = pd.read_csv("o/agreement.csv").set_index(["statistic", "score"])["value"]
    assert rows["spread", "q"] == pytest.approx(np.ptp(scores["q"]))
