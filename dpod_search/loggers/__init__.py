"""Loggers: callbacks that write what they are told for TensorBoard, Weights & Biases or MLflow."""

from __future__ import annotations

from dpod_search.loggers.logger import Logger
from dpod_search.loggers.making import make_loggers
from dpod_search.loggers.mlflow import MlflowLogger
from dpod_search.loggers.settings import LOGGER_NAMES
from dpod_search.loggers.settings import LoggingSettings
from dpod_search.loggers.tensorboard import TensorBoardLogger
from dpod_search.loggers.wandb import WandbLogger


__all__ = [
    "LOGGER_NAMES",
    "Logger",
    "LoggingSettings",
    "MlflowLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "make_loggers",
]
