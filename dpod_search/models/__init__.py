"""Models by name: built in, of a library, or by import path."""

from __future__ import annotations

from dpod_search.models.build import MODELS
from dpod_search.models.build import ModelSettings
from dpod_search.models.build import build_model
from dpod_search.models.build import build_untried
from dpod_search.models.build import comes_trained


__all__ = ["MODELS", "ModelSettings", "build_model", "build_untried", "comes_trained"]
