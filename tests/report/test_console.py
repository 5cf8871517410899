"""Screens: tables in blocks, intervals in one cell, short notes, bold in a terminal alone."""

import sys

import pandas as pd

from magiqa.report.console import screen
from magiqa.report.table import frame_table

FRAME = pd.DataFrame(
    {
        "score": ["q", "bytes"],
        "srcc": [0.5, -0.25],
        "srcc_low": [0.4, float("nan")],
        "srcc_high": [0.6, float("nan")],
        "diff": [0.0, -0.75],
        "p": [float("nan"), 1e-5],
        "n": [2982, 2982],
    }
)


def test_a_number_and_its_interval_are_one_cell_and_all_columns_are_there():
    text = frame_table(FRAME, {"score": "", "srcc": "SRCC", "diff": "difference", "p": "p", "n": "n"}).text()
    assert text.splitlines() == [
        "       SRCC                   difference        p      n",
        "q       0.500 [0.400, 0.600]       0.000        –  2,982",
        "bytes  -0.250                     -0.750  < 0.001  2,982",
    ]


def test_without_columns_what_all_rows_share_stands_once():
    table = frame_table(FRAME)
    names = ["Score", "SRCC", "Difference", "p"]
    assert table.notes == ["All rows: n = 2,982."] and [name for _, name in table.columns] == names


def test_a_wide_table_breaks_into_blocks_that_name_their_rows():
    wide = frame_table(pd.DataFrame({"name": ["x" * 60], **{f"c{k}": [k / 10] for k in range(30)}}))
    lines = wide.text(width=80).splitlines()
    assert max(map(len, lines)) <= 80 and sum("…" in line for line in lines) == lines.count("") + 1
    assert [word.lower() for line in lines for word in line.split() if word[0] in "cC"] == [
        f"c{k}" for k in range(30)
    ]


def test_three_notes_are_shown_and_the_others_counted(monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    text = screen(["word " * 30], [], [f"remark {k}" for k in range(5)])
    assert text.splitlines()[-4:] == [
        *(f"note: remark {k}" for k in range(3)),
        "note: 2 more notes: see warnings in the record",
    ]
    assert max(map(len, text.splitlines())) <= 72


def test_the_best_is_bold_in_a_terminal_and_nowhere_else(monkeypatch):
    table = frame_table(FRAME, {"score": "", "srcc": "SRCC"}, best=["srcc"])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    terminal = screen([], [table])
    assert "\x1b[1m 0.500 [0.400, 0.600]\x1b[0m" in terminal and terminal.count("\x1b") == 2
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert "\x1b" not in screen([], [table])
