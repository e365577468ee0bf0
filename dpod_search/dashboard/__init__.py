"""Optuna's dashboard on a run: what the run folder knows is put where the dashboard shows it."""

from __future__ import annotations

from dpod_search.dashboard.decorating import Decorated
from dpod_search.dashboard.decorating import decorate_study
from dpod_search.dashboard.serving import is_loopback
from dpod_search.dashboard.serving import open_server
from dpod_search.dashboard.serving import serve


__all__ = ["Decorated", "decorate_study", "is_loopback", "open_server", "serve"]
