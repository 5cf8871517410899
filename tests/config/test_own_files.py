"""Options of one's own of junk, or of few bytes that stand for all memory: one line, whoever wrote them."""

import pytest

from magiqa.cli import main as cli
from magiqa.config.own_files import read_option
from magiqa.errors import UserError

LEVELS = [f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]" for p, c in zip("abcdefgh", "bcdefghi", strict=True)]
BOMB = "\n".join(["a: &a [x, x]", *LEVELS])


@pytest.mark.parametrize("text", [BOMB, "a: &a\n  b: *a\n", "a: &a [*a]", "x" * ((1 << 20) + 1)])
def test_a_bomb_is_refused_before_it_is_read(tmp_path, text):
    file = tmp_path / "bomb.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"bomb.yaml: (its aliases stand for|is larger than any option)"):
        read_option(file)


@pytest.mark.parametrize("text", ["a: &a [x]\nb: *a\nc: *a", "a: [*unknown &", "[" * 3000 + "&*", ""])
@pytest.mark.slow
def test_other_files_are_read_as_they_are(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert read_option(file) == text.encode()


@pytest.mark.parametrize(
    "text", [BOMB, "a: [*a", "[" * 3000, "a: 1\na: 2", "\0", "!!python/object/apply:os.system [x]"]
)
@pytest.mark.slow
def test_an_option_of_junk_is_one_line(tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "prompts").mkdir(parents=True)
    (tmp_path / "conf" / "prompts" / "mine.yaml").write_text(text)
    assert cli.main(["evaluate", "prompts=mine", "dataset=sample"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("magiqa: ") and error.count("\n") == 1 and "mine" in error
    assert [p.name for p in tmp_path.iterdir()] == ["conf"]
