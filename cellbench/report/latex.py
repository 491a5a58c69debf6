"""summary.tex: the table over all points, for a paper. Needs the package booktabs. Layout only."""

from __future__ import annotations

from cellbench.report.layout import BRIEF, HEADS, legend, overview, printable
from cellbench.summary import Design, Summary

_LITERAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "≥": r"$\ge$", "≤": r"$\le$", "–": "--", '"': r"\textquotedbl{}",
}  # fmt: skip


def escape(text: str) -> str:
    """A string from a plugin as literal LaTeX.

    >>> escape("a_b & 50 %")
    'a\\\\_b \\\\& 50 \\\\%'
    """
    return "".join(_LITERAL.get(letter, letter) for letter in printable(text))


def latex(summary: Summary, design: Design) -> str:
    """A `table` with the columns of the terminal's table; its caption says what they mean."""
    rows = [" & ".join(map(_cell, row[:BRIEF])) + r" \\" for row in overview(summary, design)]
    columns = "l" + "r" * (BRIEF - 2) + "l"
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,textcomp}",
            r"\begin{table}",
            rf"\caption{{{escape(design.name)}: {escape(legend(design))}.}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(escape, HEADS[:BRIEF])) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _cell(text: str) -> str:
    # a bracket that opens a cell after "\\\\" would be read as its argument
    return f"{{{escape(text)}}}" if text.startswith(("[", "*")) else escape(text)
