"""Width search for PyTorch models: one supernet, trained once, searched for its Pareto front."""

from __future__ import annotations

import importlib.util
import sys
import types
import typing


if typing.TYPE_CHECKING:
    from dpod_search.data import DataSettings
    from dpod_search.data import SeededLoader
    from dpod_search.data import load_data
    from dpod_search.errors import CalibrationError
    from dpod_search.errors import CheckpointError
    from dpod_search.errors import ConfigError
    from dpod_search.errors import DataError
    from dpod_search.errors import DpodSearchError
    from dpod_search.errors import ExportError
    from dpod_search.errors import GroupingError
    from dpod_search.errors import InfeasibleError
    from dpod_search.errors import ObjectiveError
    from dpod_search.errors import RunFolderError
    from dpod_search.errors import SolverError
    from dpod_search.errors import TrainingError
    from dpod_search.export import ExportedModel
    from dpod_search.export import export
    from dpod_search.finetune import FinetunedSubnet
    from dpod_search.finetune import FinetuneSettings
    from dpod_search.finetune import finetune
    from dpod_search.finetune import finetune_all
    from dpod_search.footprint import FootprintModel
    from dpod_search.footprint import build_footprint
    from dpod_search.models import ModelSettings
    from dpod_search.models import build_model
    from dpod_search.search import Accuracy
    from dpod_search.search import Candidate
    from dpod_search.search import Evaluation
    from dpod_search.search import Front
    from dpod_search.search import LatencyMs
    from dpod_search.search import Macs
    from dpod_search.search import ModelledLatency
    from dpod_search.search import Objective
    from dpod_search.search import Params
    from dpod_search.search import PeakBytes
    from dpod_search.search import SearchSettings
    from dpod_search.search import TaskMetric
    from dpod_search.search import WeightBytes
    from dpod_search.search import search
    from dpod_search.supernet import Subnet
    from dpod_search.supernet import Supernet
    from dpod_search.supernet import build_supernet
    from dpod_search.supernet import extract_subnet
    from dpod_search.tasks import Classification
    from dpod_search.tasks import LanguageModel
    from dpod_search.tasks import Metric
    from dpod_search.tasks import Multilabel
    from dpod_search.tasks import Regression
    from dpod_search.tasks import Segmentation
    from dpod_search.tasks import SequenceLabels
    from dpod_search.tasks import Tally
    from dpod_search.tasks import Task
    from dpod_search.training import CheckpointFile
    from dpod_search.training import SubnetSchedule
    from dpod_search.training import TrainingResult
    from dpod_search.training import TrainingSettings
    from dpod_search.training import make_schedule
    from dpod_search.training import train_supernet
    from dpod_search.widths import Widths
    from dpod_search.widths import WidthSpace


__version__ = "0.2.0"

__all__ = [
    "Accuracy",
    "CalibrationError",
    "Candidate",
    "CheckpointError",
    "CheckpointFile",
    "Classification",
    "ConfigError",
    "DataError",
    "DataSettings",
    "DpodSearchError",
    "Evaluation",
    "ExportError",
    "ExportedModel",
    "FinetuneSettings",
    "FinetunedSubnet",
    "FootprintModel",
    "Front",
    "GroupingError",
    "InfeasibleError",
    "LanguageModel",
    "LatencyMs",
    "Macs",
    "Metric",
    "ModelSettings",
    "ModelledLatency",
    "Multilabel",
    "Objective",
    "ObjectiveError",
    "Params",
    "PeakBytes",
    "Regression",
    "RunFolderError",
    "SearchSettings",
    "SeededLoader",
    "Segmentation",
    "SequenceLabels",
    "SolverError",
    "Subnet",
    "SubnetSchedule",
    "Supernet",
    "Tally",
    "Task",
    "TaskMetric",
    "TrainingError",
    "TrainingResult",
    "TrainingSettings",
    "WeightBytes",
    "WidthSpace",
    "Widths",
    "build_footprint",
    "build_model",
    "build_supernet",
    "export",
    "extract_subnet",
    "finetune",
    "finetune_all",
    "load_data",
    "make_schedule",
    "search",
    "train_supernet",
]

# Where each public name is found once it is used: what it needs, PyTorch above all, takes seconds
# to import, and the command line and a report can do without.
_ROOMS = {
    "data": "DataSettings SeededLoader load_data",
    "errors": "CalibrationError CheckpointError ConfigError DataError DpodSearchError ExportError "
    "GroupingError InfeasibleError ObjectiveError RunFolderError SolverError TrainingError",
    "export": "ExportedModel export",
    "finetune": "FinetunedSubnet FinetuneSettings finetune finetune_all",
    "footprint": "FootprintModel build_footprint",
    "models": "ModelSettings build_model",
    "search": "Accuracy Candidate Evaluation Front LatencyMs Macs ModelledLatency Objective Params PeakBytes "
    "SearchSettings TaskMetric WeightBytes search",
    "supernet": "Subnet Supernet build_supernet extract_subnet",
    "tasks": "Classification LanguageModel Metric Multilabel Regression Segmentation SequenceLabels "
    "Tally Task",
    "training": "CheckpointFile SubnetSchedule TrainingResult TrainingSettings make_schedule "
    "train_supernet",
    "widths": "Widths WidthSpace",
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names.split()}

if not typing.TYPE_CHECKING:  # a type checker would take every misspelt name for an ``Any``

    def __getattr__(name: str) -> object:
        """Import a public name, or a room of the package, when it is first used."""
        room = f"{__name__}.{_HOMES.get(name, name)}"
        if name.startswith("_") or importlib.util.find_spec(room) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = importlib.import_module(room)
        return globals().setdefault(name, getattr(found, name) if name in _HOMES else found)


def __dir__() -> list[str]:
    """List the public names, used already or not, and what Python keeps of every module."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


class _Package(types.ModuleType):
    """This module, where ``export``, ``finetune`` and ``search`` are the verbs, whatever is imported.

    Rooms have these names too, and when Python has imported a room it binds it to its name in the
    package, in place of the verb. Nothing in a room's own ``__init__`` comes late enough to undo
    it, and to import the rooms first takes seconds. The language reference has
    a class of the module's own for such cases (Data model, "Customizing module attribute access").
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
