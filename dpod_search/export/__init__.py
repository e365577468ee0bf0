"""Exporting plain modules, each file loaded again and compared with what was exported."""

from dpod_search.export.exporting import ExportedModel
from dpod_search.export.exporting import export
from dpod_search.export.formats import FORMATS
from dpod_search.export.formats import ExportTask
from dpod_search.export.formats import Format
from dpod_search.export.formats import read_exported
from dpod_search.export.settings import ExportSettings


__all__ = [
    "FORMATS",
    "ExportSettings",
    "ExportTask",
    "ExportedModel",
    "Format",
    "export",
    "read_exported",
]
