"""The study file that ``init`` writes: drafted from what was looked at, short or with every setting."""

from __future__ import annotations

import re
from pathlib import Path

from dpod_search.config import template
from dpod_search.pipeline.drafting import draft_study
from dpod_search.pipeline.drafting import write_draft


_ODD = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 100  # characters of a study's name


def write_study(
    model: str | None, data: str | None, weights: str | None, out: Path | None, *, is_full: bool
) -> str:
    """Write a study file; without a model, data and weights every setting with its default.

    Args:
        model: What the user calls the model, or None.
        data: What the user calls the data, or None.
        weights: A file of weights, or None.
        out: Where the file will be, or None where it is printed.
        is_full: Whether every setting is shown, also of what was drafted.

    Raises:
        DpodSearchError: If what is named is not there, or does not go together.
    """
    name = None if out is None else _name_study(out.stem)
    if model is None and data is None and weights is None:
        return template(name=name)
    draft = draft_study(model, data, weights)
    if is_full:
        return template(name=name, values={each.key: each.value for each in draft.settings})
    file = "my_study.toml" if out is None else str(out)
    return write_draft(draft.found, draft.settings, draft.offered, name=name, file=file)


def _name_study(stem: str) -> str | None:
    """Return a name for the study of a file whose own is none, else None."""
    plain = _ODD.sub("_", stem).lstrip(".-")[:_LONGEST] or "study"
    return None if plain == stem else plain
