"""The commands and examples of the pages work, and print what the pages show."""

import doctest
import re
import shlex
from importlib import import_module

import numpy as np
import pytest
from pages import PAGES, blocks, page_id
from PIL import Image, ImageFilter

from magiqa.cli.main import COMMANDS, main
from magiqa.config.arguments import Arguments
from magiqa.config.compose import Configs

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
SCREENS: dict[str, list[str]] = {}  # the output of each command, which several pages may show
CLOSE = 2e-4  # engines and CPUs differ in the last digit shown


def having(*languages: str, text: str = "") -> pytest.MarkDecorator:
    """The pages with a block of one of these languages that holds a text."""
    pages = [p for p in PAGES if any(b.language in languages and text in b.text for b in blocks(p))]
    return pytest.mark.parametrize("page", pages, ids=page_id)


@pytest.fixture
def workplace(request, tmp_path, monkeypatch):
    """A folder with what the page's examples need: some photos, and the files that the page shows by their names."""
    photos = tmp_path / "photos"
    photos.mkdir()
    from skimage import data

    for name in ("chelsea", "astronaut", "coffee"):
        Image.fromarray(getattr(data, name)()).save(photos / f"{name}.png")
    coffee = Image.open(photos / "coffee.png").filter(ImageFilter.GaussianBlur(4))
    coffee.save(photos / "coffee_blurred.png")
    for block in blocks(request.getfixturevalue("page")):
        if block.title:
            file = tmp_path / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MAGIQA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def commands(text: str) -> list[list[str]]:
    """The magiqa commands of a shell block, split into words."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [w for w in words if w[:1] == ["magiqa"]]


def own_keys(command: str) -> list[type]:
    """The class of a command's own keys, where it has some."""
    module = vars(import_module(f"magiqa.cli.{command}"))
    return [kind for name, kind in module.items() if name == f"{command.capitalize()}Keys"]


@pytest.mark.slow
@having("sh", text="magiqa ")
def test_commands_compose(page, workplace):
    configs = Configs()
    for block in (b for b in blocks(page) if b.language == "sh"):
        for _, command, *typed in commands(block.text):
            assert command in COMMANDS
            arguments = Arguments(command, tuple(a for a in typed if not a.startswith(("-", "bundle="))))
            overrides = arguments.overrides
            for kind in own_keys(command):
                _, overrides = arguments.split(kind)
            for job in configs.jobs(overrides):
                configs.job(job)


def same(shown: str, printed: str) -> bool:
    """Compare two lines: words as they are, numbers within the last digit."""
    if NUMBER.sub("0", " ".join(shown.split())) != NUMBER.sub("0", " ".join(printed.split())):
        return False
    return all(
        abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= CLOSE
        for a, b in zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    )


@pytest.mark.long
@having("console")
def test_output_is_as_shown(page, workplace, capsys):
    for block in (b for b in blocks(page) if b.language == "console"):
        for example in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            typed, _, shown = example.partition("\n")
            if typed not in SCREENS:
                main(shlex.split(typed)[1:])
                screen = capsys.readouterr()
                assert "magiqa: " not in screen.err
                SCREENS[typed] = [line for line in screen.out.splitlines() if line.strip()]
            printed = SCREENS[typed]
            for line in filter(str.strip, shown.splitlines()):
                if line.strip() == "...":
                    continue
                assert any(same(line, other) for other in printed), (line, printed)


@pytest.mark.long
@having("python", text=">>> ")
def test_python_examples(page, workplace):
    names = {"np": np, "Image": Image}
    for block in (b for b in blocks(page) if b.language == "python" and ">>> " in b.text):
        test = doctest.DocTestParser().get_doctest(block.text, names, page.name, str(page), block.line)
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
            test, clear_globs=False
        )
        names |= test.globs
        assert result.failed == 0
