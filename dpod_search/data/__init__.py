"""Samples and targets: sources by name, splits kept apart, and loaders that resume exactly."""

from __future__ import annotations

from dpod_search.data.datasets import ImageDataset
from dpod_search.data.datasets import InMemoryImages
from dpod_search.data.datasets import InMemorySamples
from dpod_search.data.loader import SeededLoader
from dpod_search.data.loader import gather_images
from dpod_search.data.registry import SOURCES
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.splits import DataSplits
from dpod_search.data.splits import load_data


__all__ = [
    "SOURCES",
    "DataSettings",
    "DataSource",
    "DataSplits",
    "ImageDataset",
    "InMemoryImages",
    "InMemorySamples",
    "SeededLoader",
    "gather_images",
    "load_data",
]
