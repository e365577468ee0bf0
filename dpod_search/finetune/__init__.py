"""Finetuning: the chosen subnets as plain modules, trained on, with the full net as their teacher."""

from __future__ import annotations

from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.learner import DistillationLearner
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.teacher import Teacher
from dpod_search.finetune.teacher import make_teacher
from dpod_search.finetune.tuning import finetune


__all__ = [
    "DistillationLearner",
    "FinetuneSettings",
    "FinetunedSubnet",
    "Teacher",
    "finetune",
    "make_teacher",
]
