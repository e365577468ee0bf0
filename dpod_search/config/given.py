"""What a study with trained weights has for defaults: the weights stay, and no supernet is trained.

All compute then goes to the members: subnets are measured after a closed-form repair, and the
search gets a small share of what finetuning takes. A study that says how a supernet is trained
trains one, from the weights on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dpod_search.models import comes_trained


_SHARE = 0.05  # of the finetuning, for the search
# Of [search] these say how long it is.
_LENGTHS = frozenset({"n_trials", "n_evaluated", "seconds", "stall"})

_GIVEN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "training": {"epochs": 0},
        "data": {"calibration_share": 0.01},  # which judges shrinks, and there are none
        "evaluation": {"repair": True, "n_calibration": 1500},
        "finetune": {"tunes_full": False},
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
    if _is_trained(sections["model"]) and sections["training"].keys() <= idle:
        found |= {name: {**values, **sections[name]} for name, values in _GIVEN.items()}
        search = found.get("search", {})
        if isinstance(search, dict) and not search.keys() & _LENGTHS:
            found["search"] = {"finetune_share": _SHARE, **search}
    return found


def _is_trained(model: Mapping[str, Any]) -> bool:
    """Say whether a section ``[model]``, its values not checked yet, names trained weights."""
    name, arguments = model.get("name"), model.get("arguments", {})
    is_named = isinstance(name, str) and isinstance(arguments, dict)
    return bool(model.get("weights")) or (is_named and comes_trained(str(name), arguments))
