"""Models by name: built in, from torchvision, or by import path."""

from __future__ import annotations

from dpod_search.models.build import MODELS
from dpod_search.models.build import ModelSettings
from dpod_search.models.build import build_model


__all__ = ["MODELS", "ModelSettings", "build_model"]
