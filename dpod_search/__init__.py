"""Width search for PyTorch models: one supernet, trained once, searched for its Pareto front."""

from __future__ import annotations

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
from dpod_search.search import Front
from dpod_search.search import LatencyMs
from dpod_search.search import Macs
from dpod_search.search import ModelledLatency
from dpod_search.search import Objective
from dpod_search.search import Params
from dpod_search.search import PeakBytes
from dpod_search.search import SearchSettings
from dpod_search.search import WeightBytes
from dpod_search.search import search
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.training import CheckpointFile
from dpod_search.training import TrainingResult
from dpod_search.training import TrainingSettings
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
    "ConfigError",
    "DataError",
    "DataSettings",
    "DpodSearchError",
    "ExportError",
    "ExportedModel",
    "FinetuneSettings",
    "FinetunedSubnet",
    "FootprintModel",
    "Front",
    "GroupingError",
    "InfeasibleError",
    "LatencyMs",
    "Macs",
    "ModelSettings",
    "ModelledLatency",
    "Objective",
    "ObjectiveError",
    "Params",
    "PeakBytes",
    "RunFolderError",
    "SearchSettings",
    "SeededLoader",
    "SolverError",
    "Subnet",
    "Supernet",
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
    "search",
    "train_supernet",
]
