"""Text that a format shows as it is, whatever it holds."""

import re

DAGGER = "†"

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
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
    "−": "$-$",
    "λ": r"$\lambda$",
    "α": r"$\alpha$",
    "ρ": r"$\rho$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
}

# typed as ASCII, meant as mathematics: a minus before a number is no hyphen
_MINUS = re.compile(r"(?<![\w.)\]])-(?=\d)")


def tex(text: str) -> str:
    r"""Text that LaTeX shows as it is; a character that a plain pdfLaTeX has not becomes a question mark.

    Example:
        >>> tex("50 % of a_b & λ")
        '50 \\% of a\\_b \\& $\\lambda$'
        >>> tex("RN50-quickgelu, gain -0.1")
        'RN50-quickgelu, gain $-$0.1'
    """
    text = _MINUS.sub("−", " ".join(text.split()))
    latin = {chr(code) for code in range(0xC0, 0x100)} - set("×÷")
    return "".join(_TEX.get(c, c if ord(c) < 127 or c in latin else "?") for c in text)


def md(text: str) -> str:
    """Text that Markdown shows as it is."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|*`\[\]])", r"\\\1", text)
