"""Training the supernet: policies, losses, the loop, checkpoints."""

from __future__ import annotations

from dpod_search.environment import RANK_VARIABLES
from dpod_search.training.batches import rewind
from dpod_search.training.checkpoint import CheckpointFile
from dpod_search.training.launch import choose_device
from dpod_search.training.launch import is_first_to_fail
from dpod_search.training.launch import joined_ranks
from dpod_search.training.launch import launched_ranks
from dpod_search.training.loop import Learner
from dpod_search.training.loop import Loop
from dpod_search.training.optimizers import OptimizerSettings
from dpod_search.training.policies import POLICIES
from dpod_search.training.policies import MakePolicy
from dpod_search.training.policies import Plan
from dpod_search.training.policies import Policy
from dpod_search.training.policies import PolicyContext
from dpod_search.training.ranks import Ranks
from dpod_search.training.schedule import SubnetSchedule
from dpod_search.training.scheduling import make_schedule
from dpod_search.training.settings import TrainingSettings
from dpod_search.training.train import TrainingResult
from dpod_search.training.train import train_supernet
from dpod_search.training.turn import Turn


__all__ = [
    "POLICIES",
    "RANK_VARIABLES",
    "CheckpointFile",
    "Learner",
    "Loop",
    "MakePolicy",
    "OptimizerSettings",
    "Plan",
    "Policy",
    "PolicyContext",
    "Ranks",
    "SubnetSchedule",
    "TrainingResult",
    "TrainingSettings",
    "Turn",
    "choose_device",
    "is_first_to_fail",
    "joined_ranks",
    "launched_ranks",
    "make_schedule",
    "rewind",
    "train_supernet",
]
