"""Text that LaTeX and Markdown show as it is, whatever it holds."""

import hashlib
import re
import unicodedata

DAGGER = "†"

_SIGNS = {
    "\\": r"\textbackslash{}",
    **{c: rf"\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "·": r"$\cdot$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "§": r"$^{\S}$",
    "²": "$^{2}$",
    "³": "$^{3}$",
    "\u00a0": "~",
    "✓": "yes",
    "−": "$-$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
}

_GREEK = {c: unicodedata.name(c).rpartition(" ")[2] for c in "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ"}
_GREEK = {c: name.title() if c.isupper() else name.lower() for c, name in _GREEK.items()} | {
    "λ": "lambda",
    "Λ": "Lambda",
}

# letters that the encoding T1 has
_LATIN = {chr(code) for code in range(0xC0, 0x100)} - set("×÷") | set(
    "ĂăĄąĆćČčĎďĐđĘęĚěĞğĹĺĽľŁłŃńŇňŐőŔŕŘřŚśŞşŠšŤťŮůŰűŹźŻżŽžŸŒœ"
)

_MINUS = re.compile(r"(?<![\w.)\]])-(?=\d)")  # before a number it is no hyphen

# names in other scripts: pdfLaTeX has T2A for Cyrillic letters and shows the key of others; XeLaTeX and LuaLaTeX take
# the font that this machine found
MACROS = r"""\providecommand{\scripttext}[3]{%
\ifdefined\fontspec\IfFontExistsTF{#2}{{\fontspec{#2}#3}}{[#1]}\else[#1]\fi}
\providecommand{\cyrillictext}[3]{%
\ifcsname T@T2A\endcsname{\fontencoding{T2A}\selectfont #3}\else\scripttext{#1}{#2}{#3}\fi}
"""


def tex(text: str) -> str:
    r"""Return text for LaTeX. Letters of other scripts stand in a macro of ``MACROS``, with a key of their own.

    Example:
        >>> tex("50 % of a_b & λ")
        '50~\\% of a\\_b \\& $\\lambda$'
        >>> tex("RN50-quickgelu, gain -0.1"), tex("bell\x07")
        ('RN50-quickgelu, gain $-$0.1', 'bell\\textbackslash{}x07')
    """
    text = re.sub(r"(?<=\d) (?=%)", "\u00a0", _MINUS.sub("−", " ".join(text.split())))
    pieces = re.split(r"([^\x20-\x7e]+)", text)
    out = "".join(_signs(p) if k % 2 == 0 else _other(p) for k, p in enumerate(pieces))
    return "{}" + out if out[:1] in ("[", "*") else out  # which the end of a row before them would take


_CITE = re.compile(r" ?\[@([\w:.-]+)\]", re.ASCII)


def cited(text: str) -> str:
    r"""Return text for LaTeX in which ``[@key]`` is a citation.

    Example:
        >>> cited("KonIQ-10k [@hosu2020koniq] & more")
        'KonIQ-10k~\\cite{hosu2020koniq} \\& more'
    """
    pieces = _CITE.split(text)
    return "".join(rf"~\cite{{{p}}}" if k % 2 else _kept_spaces(p) for k, p in enumerate(pieces))


def _kept_spaces(text: str) -> str:
    """Return text for LaTeX with the blank at its ends."""
    return " " * text.startswith(" ") + tex(text) + " " * (text.endswith(" ") and bool(text.strip()))


def uncited(text: str) -> str:
    """Return text without its citations."""
    return _CITE.sub("", text)


def _signs(text: str) -> str:
    return "".join(_SIGNS.get(c, c) for c in text)


def _other(text: str) -> str:
    """Return letters and signs beyond ASCII, by script."""
    out = ""
    for part in re.findall(rf"[{_CYRILLIC}]+|[^{_CYRILLIC}{_KNOWN}]+|.", text, re.DOTALL):
        if part in _SIGNS or part in _LATIN:
            out += _SIGNS.get(part, part)
        elif part in _GREEK:
            out += rf"$\{_GREEK[part]}$"
        elif not part.isprintable():
            out += _signs(part.encode("unicode_escape", "surrogatepass").decode())
        else:
            macro = "cyrillic" if "\u0400" <= part[0] <= "\u045f" else "script"
            out += rf"\{macro}text{{{key(part)}}}{{{_font(part)}}}{{{part}}}"
    return out


_CYRILLIC = "\u0400-\u045f"
_KNOWN = "".join(c for c in (*_SIGNS, *_LATIN, *_GREEK) if ord(c) > 126)


def key(text: str) -> str:
    """Return the short key that stands for a text that pdfLaTeX cannot set."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:4]


def _font(text: str) -> str:
    from magiqa.report.style import font_with

    return font_with(text[0])


def md(text: str) -> str:
    """Return text for Markdown."""
    text = " ".join(uncited(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|*`\[\]])", r"\\\1", text)
