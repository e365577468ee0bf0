"""Study files: TOML in, a frozen :class:`StudyConfig` out, every complaint in one line."""

from __future__ import annotations

from dpod_search.config.load import load_study
from dpod_search.config.load import make_study
from dpod_search.config.study import StudyConfig
from dpod_search.config.template import template
from dpod_search.config.write import diff
from dpod_search.config.write import dump_toml
from dpod_search.config.write import flatten
from dpod_search.shipped import list_studies


__all__ = [
    "StudyConfig",
    "diff",
    "dump_toml",
    "flatten",
    "list_studies",
    "load_study",
    "make_study",
    "template",
]
