"""What a study with trained weights has for defaults: the weights stay, and no supernet is trained.

All compute then goes to the members: subnets are measured after a closed-form repair, what is
finetuned is a chain, and the search is as long as its finetuning is worth. A study that says how a
supernet is trained trains one, from the weights on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dpod_search.search.settings import SearchSettings


# Trials for each epoch of finetuning: with 20,000 pictures they took a twelfth of what four members
# took.
_N_TRIALS = 24
_MIN_TRIALS = 16
# Of [search] these say how long it is.
_LENGTHS = frozenset({"n_trials", "n_evaluated", "seconds", "stall"})

_GIVEN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "training": {"epochs": 0},
        "data": {"calibration_share": 0.01},  # which judges shrinks, and there are none
        "evaluation": {"repair": True, "n_calibration": 1500},
        "finetune": {"chain": True, "tunes_full": False},
    }
)

# Of [training] these choose among subnets,
_POLICY = frozenset({"policy", "policy_options"})
# and these are about the pictures, which finetuning sees as well.
_OF_PICTURES = frozenset({"crop_padding", "flip", "augmentation", "n_workers"})


def fill_given(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with what it leaves out, if it names weights and says no training.

    Args:
        document: A study as read from TOML. One whose sections are no tables comes back as it is.
    """
    found = dict(document)
    sections = {name: found.get(name, {}) for name in ("model", "oneshot", *_GIVEN)}
    if not all(isinstance(section, dict) for section in sections.values()):
        return found
    # What is chosen at once has no supernet, whatever its policy would be.
    idle = _OF_PICTURES | (_POLICY if sections["oneshot"].get("method") else frozenset())
    if sections["model"].get("weights") and sections["training"].keys() <= idle:
        found |= {name: {**values, **sections[name]} for name, values in _GIVEN.items()}
        found["search"] = _limit_search(found)
    return found


def _limit_search(document: Mapping[str, Any]) -> Any:
    search, epochs = document.get("search", {}), document["finetune"].get("epochs")
    is_number = isinstance(epochs, int | float) and 0 < epochs < math.inf
    if not is_number or not isinstance(search, dict) or search.keys() & _LENGTHS:
        return search
    wished = min(SearchSettings.n_trials, _N_TRIALS * epochs)
    return {"n_trials": max(_MIN_TRIALS, round(wished)), **search}
