"""Objects check themselves: Python's callers get the same line as the command line's."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import pytest

from magiqa.checked import Checked, Least, check_names, checked
from magiqa.config.compose import Configs
from magiqa.datasets.folder import Folder
from magiqa.errors import UserError
from magiqa.images.views import Views
from magiqa.method.cues import BoxCox
from magiqa.method.fusion import Adaptive, Fixed


@dataclass(frozen=True)
class Thing(Checked, key="thing"):
    count: Annotated[int, Least(1)] = 1
    share: float = 0.5
    on: bool = False
    name: str | None = None
    kind: Literal["a", "b"] | None = "a"
    size: Literal["auto"] | Annotated[int, Least(1)] = "auto"
    several: tuple[float, ...] = ()


WRONG = {
    "text for a flag": (
        lambda: Folder("x", higher_is_better="no"),
        "dataset.higher_is_better=no must be true or false or null",
    ),
    "text for a number": (lambda: Views(stride="64"), "views.stride=64 must be a whole number from 1"),
    "a flag for a number": (lambda: BoxCox(lam=True), "magnitude.lam=True must be a finite number"),
    "too low": (lambda: Thing(count=0), "thing.count=0 must be a whole number from 1"),
    "a broken number": (lambda: Thing(count=1.5), "thing.count=1.5 must be a whole number from 1"),
    "no number": (lambda: Thing(share=float("nan")), "thing.share=nan must be a finite number"),
    "an unknown word": (lambda: Thing(kind="c"), "thing.kind=c is not known: use a, b or null"),
    "neither word nor number": (
        lambda: Thing(size="big"),
        "thing.size=big must be auto or a whole number from 1",
    ),
    "no list": (lambda: Thing(several=1.0), "thing.several=1.0 must be a list, such as [1.0]"),
    "a wrong item": (lambda: Thing(several=[1.0, "x"]), "thing.several[1]=x must be a finite number"),
    "null": (lambda: Thing(share=None), "thing.share=None must be a finite number"),
    "replaced": (lambda: replace(Thing(), on=1), "thing.on=1 must be true or false"),
}


@pytest.mark.parametrize("made", [w[0] for w in WRONG.values()], ids=list(WRONG))
def test_what_is_wrong_is_one_line(made):
    message = next(m for f, m in WRONG.values() if f is made)
    with pytest.raises(UserError) as error:
        made()
    assert str(error.value) == message


@pytest.mark.slow
def test_the_command_line_gives_the_same_line():
    for override, made in (
        ("views.stride=64.5", lambda: Views(stride=64.5)),
        ("fusion.alpha=abc", lambda: Adaptive(alpha="abc")),
        ("views.small=crop", lambda: Views(small="crop")),
    ):
        with pytest.raises(UserError) as from_python:
            made()
        with pytest.raises(UserError) as from_command:
            Configs().job([override])
        assert str(from_command.value) == str(from_python.value)


def test_whole_numbers_and_numpys_scalars_are_welcome():
    made = Thing(np.int32(3), np.float32(0.25), np.bool_(True), 7, "b", np.int64(4), [1, np.float64(2)])
    assert made == Thing(3, 0.25, True, "7", "b", 4, (1.0, 2.0))
    assert [type(v) for v in (made.count, made.share, made.on, made.size)] == [int, float, bool, int]
    assert Fixed(1) == Fixed(1.0) and type(Fixed(1).w_sim) is float


def test_names_of_fields_are_checked():
    with pytest.raises(
        UserError, match=r"^fusion.alhpa: Adaptive has no such field; it has base_sim, base_mag, "
    ):
        check_names(Adaptive, ["alhpa"], "fusion")
    with pytest.raises(UserError, match=r"^dataset.root is not set; Folder needs it$"):
        check_names(Folder, [], "dataset")


@pytest.mark.slow
def test_checking_imports_no_torch():
    code = (
        "import sys; from magiqa.datasets.folder import Folder; from magiqa.method.cues import BoxCox\n"
        "from magiqa.images.views import Views; Folder('x'); Views(); BoxCox(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_whole_number_that_no_float_holds_is_no_finite_number():
    with pytest.raises(UserError, match="must be a finite number"):
        checked(10**400, float, "x")
