"""Reading what the files of a run say of a subnet: its widths and its footprints."""

from __future__ import annotations

from dpod_search.records.fields import Fields
from dpod_search.records.run import Search


# Version 0.1.0 knew these and did not write their names down.
_FIRST_FOOTPRINTS = ("macs", "params", "weight_bytes")


def read_footprints(fields: Fields) -> tuple[str, ...]:
    """Return the names of the footprints that a file knows."""
    names = fields.texts("footprints") if "footprints" in fields.values else _FIRST_FOOTPRINTS
    if "macs" not in names:
        fields.refuse("footprints", "names with macs among them")
    return names


def read_footprint(fields: Fields, names: tuple[str, ...]) -> dict[str, float]:
    """Return the footprints of a subnet."""
    # All but the modelled latency are counts.
    return {
        name: fields.number(name)
        if name == "latency"
        else fields.integer(name, low=1 if name == "macs" else 0)
        for name in names
    }


def read_widths(fields: Fields, search: Search) -> dict[str, int]:
    """Return the active width of each group."""
    widths = fields.inner("widths")
    return {
        group.name: widths.integer(group.name, low=min(group.rungs)) for group in search.groups
    }
