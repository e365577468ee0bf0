"""A run of a study: the stages in order, the run folder, resume."""

from __future__ import annotations

from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.joining import work
from dpod_search.pipeline.run import StageOutcome
from dpod_search.pipeline.run import run_stages
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.table import STAGES
from dpod_search.pipeline.status import read_status


__all__ = ["STAGES", "RunFolder", "Session", "StageOutcome", "read_status", "run_stages", "work"]
