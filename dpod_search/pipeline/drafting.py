"""A study drafted for a model and data that were looked at: settings with their reasons."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dpod_search.config import StudyConfig
from dpod_search.config import make_study
from dpod_search.data.registry import open_source
from dpod_search.data.splits import split_source
from dpod_search.pipeline.drafts.data import look_at_data
from dpod_search.pipeline.drafts.found import FoundData
from dpod_search.pipeline.drafts.model import find_model
from dpod_search.pipeline.drafts.text import DraftedSetting
from dpod_search.pipeline.drafts.text import write_draft
from dpod_search.pipeline.drafts.values import Machine
from dpod_search.pipeline.drafts.values import choose_settings
from dpod_search.pipeline.drafts.values import offer_settings
from dpod_search.pipeline.nets import build_study
from dpod_search.quantities import plural


__all__ = ["Draft", "DraftedSetting", "draft_settings", "draft_study", "write_draft"]

_DIGITS = "digits"
_NAME = "a_draft"


@dataclass(frozen=True)
class Draft:
    """A study, drafted.

    Args:
        found: What was found, a sentence each.
        settings: What the study says: no more than what is so by default, or a person would ask.
        offered: Examples of what only the user can decide.
    """

    found: tuple[str, ...]
    settings: tuple[DraftedSetting, ...]
    offered: tuple[DraftedSetting, ...]


def draft_settings(
    model: str | None, data: str | None, weights: str | None = None
) -> tuple[DraftedSetting, ...]:
    """Look at a model and data; say what a study of them should set, and why.

    Args:
        model: A name as ``model.name`` has them, or ``file.py:function``; None for one that is built
            in and takes such samples.
        data: A name as ``data.name`` has them, a folder of pictures, or a ``.txt`` or ``.npz`` file;
            None for the digits.
        weights: A file of trained weights, or None.

    Returns:
        The settings. Together they make a study, and the model was called with such samples; data
        that have to be downloaded first are not.

    Raises:
        ConfigError: If there is no such model, it cannot be built, or it does not take the samples.
        DataError: If the data are missing, cannot be read, or are too few.
        CheckpointError: If weights are missing, damaged, or of another model.
    """
    return draft_study(model, data, weights, is_traced=False).settings


def draft_study(
    model: str | None, data: str | None, weights: str | None = None, *, is_traced: bool = True
) -> Draft:
    """Draft a study; arguments and errors as of :func:`draft_settings`.

    Args:
        model: The model.
        data: The data.
        weights: Its weights.
        is_traced: Whether to make the supernet too, so that a model that can be none is told.

    Raises:
        GroupingError: If the model cannot be made a supernet.
    """
    found = look_at_data(data or _DIGITS)
    net = find_model(model, weights, found)
    machine = Machine(torch.get_num_threads(), torch.cuda.is_available())
    told = [f"{found.tell()}.", f"{net.tell()}."]
    draft = Draft(
        tuple(told),
        tuple(choose_settings(found, net, machine)),
        tuple(offer_settings(found, net)),
    )
    config = make_study(_NAME, [setting.override for setting in draft.settings])
    return draft if found.source is None else _check(draft, config, found, is_traced)


def _check(draft: Draft, config: StudyConfig, found: FoundData, is_traced: bool) -> Draft:
    """Split the data as a run will, and make the supernet."""
    assert found.source is not None
    source = open_source(config.data) if found.is_resized else found.source
    splits = split_source(source, config.data, config.seed)
    if not is_traced:
        return draft
    n_groups = len(build_study(config, splits).groups)
    *others, model = draft.found
    model = f"{model.removesuffix('.')}; {plural(n_groups, 'channel group')} can run narrower."
    return Draft((*others, model), draft.settings, draft.offered)
