"""The search: widths are proposed, gated, measured, and the best form a front.

The only home of Optuna. Its core takes widths and gives numbers and knows no tensor.
"""

from __future__ import annotations

from dpod_search.search.api import make_task
from dpod_search.search.api import search
from dpod_search.search.candidate import Candidate
from dpod_search.search.evaluations import Evaluation
from dpod_search.search.evaluations import call_objectives
from dpod_search.search.front import Front
from dpod_search.search.objectives import Accuracy
from dpod_search.search.objectives import LatencyMs
from dpod_search.search.objectives import Macs
from dpod_search.search.objectives import ModelledLatency
from dpod_search.search.objectives import Objective
from dpod_search.search.objectives import Params
from dpod_search.search.objectives import PeakBytes
from dpod_search.search.objectives import TaskMetric
from dpod_search.search.objectives import WeightBytes
from dpod_search.search.objectives import call_objective
from dpod_search.search.objectives import to_number
from dpod_search.search.outcome import write_records
from dpod_search.search.resolving import resolve_objective
from dpod_search.search.resolving import resolve_objectives
from dpod_search.search.results import SearchResult
from dpod_search.search.results import TrialRecord
from dpod_search.search.results import collect_result
from dpod_search.search.samplers.sampler import WidthNSGAIISampler
from dpod_search.search.samplers.sampler import make_sampler
from dpod_search.search.seeds import PROPOSERS
from dpod_search.search.seeds import Proposal
from dpod_search.search.seeds import ProposalRequest
from dpod_search.search.seeds import Proposer
from dpod_search.search.seeds import propose_seeds
from dpod_search.search.settings import SearchSettings
from dpod_search.search.store import KernelLock
from dpod_search.search.store import open_storage
from dpod_search.search.store.child_study import name_finetune_study
from dpod_search.search.store.child_study import record_finetuned
from dpod_search.search.study import open_study
from dpod_search.search.study import run_study
from dpod_search.search.task import Footprint
from dpod_search.search.task import SearchTask


__all__ = [
    "PROPOSERS",
    "Accuracy",
    "Candidate",
    "Evaluation",
    "Footprint",
    "Front",
    "KernelLock",
    "LatencyMs",
    "Macs",
    "ModelledLatency",
    "Objective",
    "Params",
    "PeakBytes",
    "Proposal",
    "ProposalRequest",
    "Proposer",
    "SearchResult",
    "SearchSettings",
    "SearchTask",
    "TaskMetric",
    "TrialRecord",
    "WeightBytes",
    "WidthNSGAIISampler",
    "call_objective",
    "call_objectives",
    "collect_result",
    "make_sampler",
    "make_task",
    "name_finetune_study",
    "open_storage",
    "open_study",
    "propose_seeds",
    "record_finetuned",
    "resolve_objective",
    "resolve_objectives",
    "run_study",
    "search",
    "to_number",
    "write_records",
]
