"""Which trials are audited: evaluated whatever the surrogate says of them.

They are drawn by number alone, so that sampler and gate agree without talking to each other.
An audited trial of our sampler is an unscreened child; what the surrogate would have done with
it, and whether that would have been wrong, is thus known of a random sample of all children.
"""

from __future__ import annotations

from dpod_search.rng import numpy_generator
from dpod_search.search.settings import SearchSettings


def is_audit(seed: int, number: int, settings: SearchSettings) -> bool:
    """Say whether a trial is one of those that are evaluated in any case."""
    return bool(numpy_generator(seed, "audit", number).random() < settings.audit_share)
