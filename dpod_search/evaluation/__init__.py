"""Measuring subnets: calibrated BatchNorm statistics, then accuracy on data kept apart."""

from __future__ import annotations

from dpod_search.evaluation.calibration import calibrate
from dpod_search.evaluation.calibration import calibrated
from dpod_search.evaluation.evaluator import EvaluationSettings
from dpod_search.evaluation.evaluator import Evaluator
from dpod_search.evaluation.evaluator import Measurement
from dpod_search.evaluation.evaluator import measure
from dpod_search.evaluation.evaluator import measure_accuracy
from dpod_search.evaluation.evaluator import measure_metrics
from dpod_search.evaluation.judge import Judge
from dpod_search.evaluation.repair import RepairingEvaluator
from dpod_search.evaluation.repair import make_evaluator


__all__ = [
    "EvaluationSettings",
    "Evaluator",
    "Judge",
    "Measurement",
    "RepairingEvaluator",
    "calibrate",
    "calibrated",
    "make_evaluator",
    "measure",
    "measure_accuracy",
    "measure_metrics",
]
