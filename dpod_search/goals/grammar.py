"""The words, units and patterns of goals."""

from __future__ import annotations

import re

from dpod_search.goals.goal import LATENCY


OTHER_NAMES = {
    "size": "weight_bytes",
    "memory": "peak_bytes",
    "parameters": "params",
    "time": LATENCY,
    "latency_ms": LATENCY,
}
COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
TIMES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}  # in milliseconds
POINTS = frozenset({"pt", "pts", "pp", "point", "points"})

_NUMBER = r"[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?"
_UNIT = "|".join(sorted({"%", *COUNTS, *BYTES, *TIMES, *POINTS} - {""}, key=len, reverse=True))
_AMOUNT = rf"({_NUMBER})\s*({_UNIT}|)(?![A-Za-z0-9_%.])"
_BEGIN = r"(?:under|below|within|at|up|and|with|smallest|fastest|best)\b"
_OF = rf"(?:\s+(?:of\s+)?(?:the\s+)?(?!{_BEGIN})([A-Za-z_][A-Za-z0-9_]*))?"
GAP = re.compile(r"(?:\s|,|;|\band\b|\bwith\b)+", re.IGNORECASE)
AIM = re.compile(r"(smallest|fastest|best)\b", re.IGNORECASE)
BOUND = re.compile(
    rf"([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=|≤|≥)\s*([-+−]?)\s*{_AMOUNT}", re.IGNORECASE
)
PHRASE = re.compile(
    rf"(?:under|below|within|at\s+most|up\s+to)\s+{_AMOUNT}"
    rf"(?:{_OF}(?!\w|\s*[<>=≤≥]))?",
    re.IGNORECASE,
)
