"""Laying out expressions over lines, as ruff's formatter would by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace


LINE_LENGTH = 88
_INDENT = "    "


@dataclass(frozen=True)
class Brackets:
    """An expression in brackets.

    Args:
        head: What stands before its items, the bracket among it.
        items: Expressions between commas.
        tail: The closing bracket, and a lone comma before it.
        comment: Said at the end of its first line, which keeps the items on lines of their own.
    """

    head: str
    items: tuple[Expression, ...]
    tail: str = ")"
    comment: str = ""


Expression = str | Brackets


def call(name: str, *items: Expression, comment: str = "") -> Brackets:
    """Return a call."""
    return Brackets(f"{name}(", tuple(items), ")", comment)


def prefix(text: str, expression: Expression) -> Expression:
    """Put text in front of an expression, ``name=`` for one."""
    if isinstance(expression, str):
        return text + expression
    return replace(expression, head=text + expression.head)


def flatten(expression: Expression) -> str:
    """Return an expression on one line, without comments."""
    if isinstance(expression, str):
        return expression
    return f"{expression.head}{', '.join(map(flatten, expression.items))}{expression.tail}"


def lay_out(expression: Expression, depth: int, *, before: str = "", after: str = "") -> list[str]:
    """Return the lines of an expression.

    Args:
        expression: What to lay out.
        depth: Levels of indentation.
        before: Text in front of it, ``return `` for one.
        after: Text behind it.
    """
    indent = _INDENT * depth
    flat = f"{indent}{before}{flatten(expression)}{after}"
    if isinstance(expression, str) or not expression.items:
        return [flat]
    if len(flat) <= LINE_LENGTH and not _has_comment(expression):
        return [flat]
    comment = f"  # {expression.comment}" if expression.comment else ""
    lines = [f"{indent}{before}{expression.head}{comment}"]
    inner = ", ".join(map(flatten, expression.items))
    fits = len(indent) + len(_INDENT) + len(inner) <= LINE_LENGTH
    if fits and not _has_comment(expression) and len(expression.items) > 1:
        lines.append(f"{indent}{_INDENT}{inner}")
    else:
        for item in expression.items:
            lines.extend(lay_out(item, depth + 1, after=","))
    return [*lines, f"{indent}{expression.tail.lstrip(',')}{after}"]


def _has_comment(expression: Expression) -> bool:
    if isinstance(expression, str):
        return False
    return bool(expression.comment) or any(map(_has_comment, expression.items))


def list_of(items: Sequence[Expression]) -> Brackets:
    """Return a list."""
    return Brackets("[", tuple(items), "]")


def tuple_of(items: Sequence[Expression]) -> Brackets:
    """Return a tuple."""
    return Brackets("(", tuple(items), ",)" if len(items) == 1 else ")")
