"""Objects check themselves: Python's callers get the same line as the command line's."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import pytest

from magiqa.checked import Checked, Least
from magiqa.datasets.folder import Folder
from magiqa.errors import UserError
from magiqa.images.views import Views
from magiqa.method.cues import BoxCox
from magiqa.method.fusion import Fixed


@dataclass(frozen=True)
class Thing(Checked, key="thing"):
    count: Annotated[int, Least(1)] = 1
    share: float = 0.5
    on: bool = False
    name: str | None = None
    kind: Literal["a", "b"] | None = "a"
    size: Literal["auto"] | Annotated[int, Least(1)] = "auto"
    several: tuple[float, ...] = ()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: Folder("x", higher_is_better="no"),
            "dataset.higher_is_better=no must be true or false or null",
        ),
        (lambda: Views(stride="64"), "views.stride=64 must be a whole number from 1"),
        (lambda: BoxCox(lam=True), "magnitude.lam=True must be a finite number"),
        (lambda: Thing(count=0), "thing.count=0 must be a whole number from 1"),
        (lambda: Thing(count=1.5), "thing.count=1.5 must be a whole number from 1"),
        (lambda: Thing(share=10**400), "thing.share=1.* must be a finite number"),
        (lambda: Thing(kind="c"), "thing.kind=c is not known: use a, b or null"),
        (lambda: Thing(size="big"), "thing.size=big must be auto or a whole number from 1"),
        (lambda: Thing(several=1.0), r"thing.several=1.0 must be a list, such as \[1.0\]"),
        (lambda: Thing(several=[1.0, "x"]), r"thing.several\[1\]=x must be a finite number"),
        (lambda: Thing(share=None), "thing.share=None must be a finite number"),
        (lambda: replace(Thing(), on=1), "thing.on=1 must be true or false"),
    ],
)
def test_what_is_wrong_is_one_line(made, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        made()


def test_whole_numbers_and_numpys_scalars_are_welcome():
    made = Thing(np.int32(3), np.float32(0.25), np.bool_(True), 7, "b", np.int64(4), [1, np.float64(2)])
    assert made == Thing(3, 0.25, True, "7", "b", 4, (1.0, 2.0))
    assert [type(v) for v in (made.count, made.share, made.on, made.size)] == [int, float, bool, int]
    assert Fixed(1) == Fixed(1.0) and type(Fixed(1).w_sim) is float
