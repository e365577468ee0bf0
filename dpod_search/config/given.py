"""What a study with trained weights has for defaults: the weights stay, and no supernet is trained.

All compute then goes to the members: subnets are measured after a closed-form repair, and what is
finetuned is a chain. A study that says ``training.epochs`` trains a supernet on from the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


_GIVEN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "training": {"epochs": 0},
        "evaluation": {"repair": True, "n_calibration": 1500},
        "finetune": {"chain": True, "tunes_full": False},
    }
)


def fill_given(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with what it leaves out, if it names weights and no ``training.epochs``.

    Args:
        document: A study as read from TOML. One whose sections are no tables comes back as it is.
    """
    found = dict(document)
    sections = {name: found.get(name, {}) for name in ("model", *_GIVEN)}
    if not all(isinstance(section, dict) for section in sections.values()):
        return found
    if sections["model"].get("weights") and "epochs" not in sections["training"]:
        found |= {name: {**values, **sections[name]} for name, values in _GIVEN.items()}
    return found
