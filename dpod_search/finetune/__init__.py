"""Finetuning: the chosen subnets as plain modules, trained on, with the full net as their teacher."""

from __future__ import annotations

from dpod_search.finetune.chain import list_levels
from dpod_search.finetune.chain import plan_parents
from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.job import FinetuneContext
from dpod_search.finetune.job import FinetuneJob
from dpod_search.finetune.learner import DistillationLearner
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.side_by_side import finetune_all
from dpod_search.finetune.side_by_side import run_jobs
from dpod_search.finetune.teacher import Teacher
from dpod_search.finetune.teacher import make_teacher
from dpod_search.finetune.tuner import Tuner
from dpod_search.finetune.tuner import TunerContext
from dpod_search.finetune.tuner import resolve_tuner
from dpod_search.finetune.tuning import finetune
from dpod_search.finetune.tuning import prepare_finetuning


__all__ = [
    "DistillationLearner",
    "FinetuneContext",
    "FinetuneJob",
    "FinetuneSettings",
    "FinetunedSubnet",
    "Teacher",
    "Tuner",
    "TunerContext",
    "finetune",
    "finetune_all",
    "list_levels",
    "make_teacher",
    "plan_parents",
    "prepare_finetuning",
    "resolve_tuner",
    "run_jobs",
]
