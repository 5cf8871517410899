"""A class of the user's own: it pools, and the record holds the sha256 of its file."""

import hashlib
import sys

import numpy as np
import pytest
import tiny

from magiqa.config.compose import Configs
from magiqa.errors import UserError
from magiqa.method.pooling import pool
from magiqa.runs.record import own_code, versions

CODE = """
class Top:
    def __init__(self, share):
        self.share = share

    def __call__(self, values):
        return sorted(values)[-max(1, int(self.share * len(values))):][0]
"""


def test_own_pooling_is_composed_and_its_module_recorded(tmp_path, monkeypatch):
    (tmp_path / "pools_of_mine.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    job = Configs().job(["pooling={_target_:pools_of_mine.Top,share:0.5}"])
    assert pool(np.array([4.0, 1.0, 3.0, 2.0]), job.method.pooling) == 3.0
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert own_code(job.config) == {"pools_of_mine": digest}
    assert versions(job.config)["pools_of_mine"] == f"sha256 {digest}"
    assert job.name != Configs().job([]).name
    sys.modules.pop("pools_of_mine")


@pytest.mark.slow
def test_keys_that_only_choose_what_is_shown_change_no_run():
    job = tiny.configs().job(["style.width=column", "statistics=all", "figures=false"])
    assert (job.output.style.width, job.output.statistics) == ("column", "all")
    assert job.name == tiny.configs().job([]).name and not job.changed
    with pytest.raises(UserError, match=r"^style.width=wide is not known: use column, page$"):
        tiny.configs().job(["style.width=wide"])
