"""Settings of a study that are drafted from a model, data and weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpod_search.files import expand_path


@dataclass(frozen=True)
class DraftedSetting:
    """A setting, and why it is so.

    Args:
        key: The setting with its section, as ``--set`` spells it.
        value: Its value.
        reason: Why.
    """

    key: str
    value: object
    reason: str


def draft_settings(
    model: str, data: str, weights: str | None = None
) -> tuple[DraftedSetting, ...]:
    """Draft the settings of a study.

    Args:
        model: Name of the model, or ``package.module:function``.
        data: Name of the data; a folder that is there is one of pictures in class folders.
        weights: A file of trained weights, or None.
    """
    is_folder = ":" not in data and expand_path(data).is_dir()
    source = f"imagefolder:{Path(data)}" if is_folder else data
    found = [
        DraftedSetting("model.name", model, "as given"),
        DraftedSetting("data.name", source, "as given"),
    ]
    if weights is not None:
        found.append(DraftedSetting("model.weights", weights, "as given"))
    return tuple(found)
