"""What is said of words that no command understands: in one line, with the next step."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import typer

from dpod_search.errors import shorten
from dpod_search.shipped import list_studies


# Typer brings its own copy of Click, or uses Click itself: the classes are found by its own one.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

# What it says of values is in the words of whoever checks them for it.
_WORDS = {
    "': Input should be a valid integer, unable to parse string as an integer": "': a whole number is needed",
    "': Input should be": "': it must be",
    "argument(s)": "words",
}

_SHOWN = 200  # characters of a word that was not understood


def is_help(error: BaseException) -> bool:
    """Say whether an error is nothing but the help, which a command without words shows."""
    return type(error).__name__ == "NoArgsIsHelpError"


def describe_usage(error: Any) -> str:
    """Say what was not understood, and what to write instead.

    Args:
        error: Of :data:`UsageError`.
    """
    context = error.ctx
    command = context.command_path if context is not None else "dpod-search"
    known = [opt for p in context.command.params for opt in p.opts] if context is not None else []
    said = _lower(shorten(" ".join(str(error.format_message()).split()), 2 * _SHOWN)).rstrip(".")
    for words, plain in _WORDS.items():
        said = said.replace(words, plain)
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and option is not None:
        near = _find_near(option, known)
        hint = f"did you mean {near}?" if near else f"`{command} -h` lists those there are"
        return f"{command} has no option {shorten(option, _SHOWN)}; {hint}"
    if said.startswith("no such command"):
        said, _, near = said.partition(". Did you mean ")
        return f"{said}; " + (f"did you mean {near}" if near else f"`{command} -h` lists them")
    if said.startswith("got unexpected extra words"):
        words = said.partition(" (")[2].removesuffix(")")
        return f"{said}; {_explain_extra(words, known)}"
    return f"{said}; `{command} -h` says what it takes"


def _explain_extra(words: str, known: Sequence[str]) -> str:
    """Say what words without an option before them may have been meant for."""
    first = words.partition(" ")[0]
    studies = [name for name, _, _ in list_studies()]
    if "--study" in known and (first in studies or first.endswith(".toml")):
        return f"did you mean --study {shorten(first, _SHOWN)}?"
    if "=" in first and "--set" in known and not first.startswith("="):
        return f"did you mean --set {shorten(first, _SHOWN)}?"
    return (
        "what has blanks in it stands in quotes, and a setting is written without them: "
        "--set search.n_trials=500"
    )


def _find_near(option: str, known: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(option, known, n=1)
    near += [name for name in known if name.startswith(option) and len(option) > 2]
    return near[0] if near else None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
