"""Write numbers as text, the same in every sentence and table."""

from __future__ import annotations

import math


def ratio(x: float) -> str:
    """Write a ratio, with two decimals where it is near 1.

    >>> ratio(0.6729), ratio(23.456), ratio(0.0123)
    ('0.67', '23.5', '0.012')
    """
    if not math.isfinite(x):
        return "?"
    if x >= 100:
        return f"{x:.0f}"
    if x >= 10:
        return f"{x:.1f}"
    return f"{x:.2g}" if x < 0.095 else f"{x:.2f}"


def limit(x: float) -> str:
    """Write a limit of a ratio, with a third decimal where two would show 1.00 for a limit that is not 1.

    >>> limit(0.9962), limit(1.0), limit(0.8)
    ('0.996', '1.00', '0.80')
    """
    text = ratio(x)
    return f"{x:.3f}" if text == "1.00" and abs(x - 1) >= 0.0005 else text


def span(low: float, high: float) -> str:
    """Write an interval of a ratio.

    >>> span(0.8, 1.25)
    '0.80 to 1.25'
    """
    return f"{limit(low)} to {limit(high)}"


def p(x: float) -> str:
    """Write a p-value.

    >>> p(0.0063), p(0.00004), p(0.31)
    ('p 0.006', 'p < 0.001', 'p 0.31')
    """
    if x < 0.001:
        return "p < 0.001"
    return f"p {x:.3f}" if x < 0.0995 else f"p {x:.2f}"


def count(n: int, noun: str) -> str:
    """Write a number with its noun, which loses its s for 1.

    >>> count(1, "point"), count(12, "points")
    ('1 point', '12 points')
    """
    noun = noun.removesuffix("s")
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def percent(x: float) -> str:
    """Write a share in percent.

    >>> percent(0.2589)
    '26 %'
    """
    return f"{100 * x:.0f} %"


def number(x: float) -> str:
    """Write a learning rate or a threshold in its shortest form.

    >>> number(0.003), number(1.0), number(0.99)
    ('0.003', '1', '0.99')
    """
    return f"{x:.10g}"


def listing(items: list[str]) -> str:
    """Join items as in an English sentence.

    >>> listing(["a"]), listing(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def owned(name: str) -> str:
    """Write whose something is.

    >>> owned("lstm"), owned("gates")
    ("lstm's", "gates'")
    """
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def spelled(n: int) -> str:
    """Write a small number as a word.

    >>> spelled(5), spelled(12)
    ('five', '12')
    """
    small = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return small[n] if n < len(small) else str(n)


def quantity(by: str) -> str:
    """Write the name of what accuracies are measured by: a parameter, a difficulty, or one at a parameter's value.

    >>> quantity("depth_at_length_256")
    'depth at length 256'
    """
    return by.replace("_", " ")


def points(difference: float) -> str:
    """Write a difference of accuracies in percentage points with its sign, which 0.0 does not have.

    >>> points(8.94), points(-0.04)
    ('+8.9', '0.0')
    """
    text = f"{difference:+.1f}"
    return "0.0" if float(text) == 0 else text
