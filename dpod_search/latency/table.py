"""Latency tables: what each layer takes over a grid of its widths, on one device.

A table is a file of JSON. It holds the layers of a model and some whole subnets of it, measured
on the same device, by which a model of whole nets is fitted and judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from dpod_search.errors import DataError
from dpod_search.errors import DpodSearchError
from dpod_search.files import hash_value
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.latency.fingerprint import Fingerprint
from dpod_search.latency.specs import LayerSpec
from dpod_search.latency.timing import DRIFT
from dpod_search.tabulated import FloatArray
from dpod_search.widths import WidthSpace


FORMAT = "dpod-search latency table"
VERSION = 1


@dataclass(frozen=True, eq=False)
class LayerGrid:
    """What one layer takes over its widths.

    Args:
        inputs: Input widths, ascending.
        outputs: Output widths, ascending.
        ms: Milliseconds, shape (n_inputs, n_outputs), > 0.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ms: FloatArray

    def covers(self, inputs: Sequence[int], outputs: Sequence[int]) -> bool:
        """Say whether widths lie within the grid."""
        return (
            self.inputs[0] <= min(inputs)
            and max(inputs) <= self.inputs[-1]
            and self.outputs[0] <= min(outputs)
            and max(outputs) <= self.outputs[-1]
        )

    def at(self, inputs: Sequence[int], outputs: Sequence[int]) -> FloatArray:
        """Interpolate, linearly along both axes.

        Returns:
            Milliseconds, shape (len(inputs), len(outputs)).
        """
        rows = np.array([np.interp(outputs, self.outputs, row) for row in self.ms])
        columns = [np.interp(inputs, self.inputs, column) for column in rows.T]
        return np.array(columns).T.reshape(len(inputs), len(outputs))


@dataclass(frozen=True)
class MeasuredNet:
    """A whole subnet that was measured.

    Args:
        widths: Its active width in every group, in the order of the space.
        ms: Milliseconds when nothing disturbs it, drift corrected; see ``Latency.quiet_ms``.
        low_ms: Lower end of the 95 % interval of the median, which lies above.
        high_ms: Upper end.
        drift: How restless the machine was meanwhile, see :class:`Latency`.
    """

    widths: tuple[int, ...]
    ms: float
    low_ms: float
    high_ms: float
    drift: float = 1.0


@dataclass(frozen=True)
class LatencyTable:
    """What was measured on one device.

    Args:
        device: The device.
        reference_ms: Milliseconds of the reference net that all others are given for.
        layers: The layers.
        space: Fingerprint of the width space that the nets are of, see :func:`hash_nets`.
        nets: Whole subnets.
    """

    device: Fingerprint
    reference_ms: float
    layers: Mapping[LayerSpec, LayerGrid] = field(default_factory=dict)
    space: str = ""
    nets: tuple[MeasuredNet, ...] = ()

    @property
    def n_restless(self) -> int:
        """Nets during whose measurement the machine was throttled or shared."""
        return sum(net.drift >= DRIFT for net in self.nets)

    def write(self, path: Path) -> None:
        """Write it as a file, whole or not at all."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "device": self.device.to_json(),
            "reference_ms": self.reference_ms,
            "layers": [
                {
                    "spec": spec.to_json(),
                    "inputs": list(grid.inputs),
                    "outputs": list(grid.outputs),
                    "ms": [[float(f"{x:.5g}") for x in row] for row in grid.ms],
                }
                for spec, grid in self.layers.items()
            ],
            "space": self.space,
            "nets": [
                {
                    "widths": list(net.widths),
                    "ms": net.ms,
                    "low_ms": net.low_ms,
                    "high_ms": net.high_ms,
                    "drift": net.drift,
                }
                for net in self.nets
            ],
        }  # fmt: skip  (a table)


def hash_nets(space: WidthSpace, input_shape: Sequence[int], specs: Sequence[LayerSpec]) -> str:
    """Return the fingerprint of the nets of a width space, by which a table knows its model.

    Args:
        space: The width space.
        input_shape: Shape (C, ...) of one sample.
        specs: The layers, in their order.
    """
    layers = [spec.to_json() for spec in specs]
    return hash_value({"space": space.to_json(), "input": list(input_shape), "layers": layers})


def read_table(path: Path) -> LatencyTable:
    """Read a table.

    Raises:
        DataError: If it is none, is cut off, or holds latencies that cannot be.
    """
    if not path.is_file():
        raise DataError(f"there is no latency table {path}; check the path")
    try:
        value = read_json(path)
    except DpodSearchError as error:
        raise DataError(f"{path} is no latency table, or cut off; measure it again") from error
    try:
        return parse_table(value)
    except DataError as error:
        raise DataError(f"latency table {path}: {error}; measure it again") from error


def parse_table(value: object) -> LatencyTable:
    """Read a table from JSON values.

    Raises:
        DataError: As :func:`read_table`.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"it is none (its format is not {FORMAT!r})")
    if value.get("version") != VERSION:
        raise DataError(f"its version is {value.get('version')!r}, and only {VERSION} can be read")
    try:
        entries, nets, space = value["layers"], value["nets"], value["space"]
        device, reference = Fingerprint.from_json(value["device"]), value["reference_ms"]
    except KeyError as error:
        raise DataError(f"it lacks {error}") from error
    if not (isinstance(entries, list) and isinstance(nets, list) and isinstance(space, str)):
        raise DataError("its layers or nets are no list, or its space is no text")
    _check_ms(reference, "the reference net")
    layers = dict(_parse_entry(entry) for entry in entries)
    return LatencyTable(device, reference, layers, space, tuple(map(_parse_net, nets)))


def parse_axes(entry: Mapping[str, Any], spec: LayerSpec) -> tuple[tuple[int, ...], ...]:
    """Return the input and output widths of a layer from JSON values.

    Raises:
        DataError: If they are none, or the layer cannot have them.
    """
    axes = []
    for axis in ("inputs", "outputs"):
        widths = entry[axis]
        is_axis = isinstance(widths, list) and all(type(w) is int and w >= 1 for w in widths)
        if not is_axis or not widths or widths != sorted(set(widths)):
            raise DataError(f"{axis} of {spec.describe()} must be ascending widths, got {widths}")
        axes.append(tuple(widths))
    unit = spec.output_unit
    if any(width % unit for width in axes[1]):
        of = "of a group" if spec.conv_group else "that come together"
        raise DataError(
            f"outputs of {spec.describe()} must be multiples of the {unit} {of}, got {list(axes[1])}"
        )
    return tuple(axes)


def _parse_entry(entry: object) -> tuple[LayerSpec, LayerGrid]:
    if not isinstance(entry, dict) or not {"spec", "inputs", "outputs", "ms"} <= set(entry):
        raise DataError("a layer lacks a part")
    spec = LayerSpec.from_json(entry["spec"])
    name = spec.describe()
    axes = parse_axes(entry, spec)
    rows = entry["ms"]
    shape = (len(axes[0]), len(axes[1]))
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise DataError(f"latencies of {name} are no table")
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise DataError(f"latencies of {name} are cut off: {shape[0]} rows of {shape[1]} are due")
    for row in rows:
        for ms in row:
            _check_ms(ms, name)
    return spec, LayerGrid(axes[0], axes[1], np.array(rows, dtype=float))


def _parse_net(value: object) -> MeasuredNet:
    if not isinstance(value, dict) or not {"widths", "ms", "low_ms", "high_ms"} <= set(value):
        raise DataError("a net lacks a part")
    widths = parse_widths(value["widths"])
    numbers = [value[name] for name in ("ms", "low_ms", "high_ms")] + [value.get("drift", 1.0)]
    for number in numbers:
        _check_ms(number, f"the net {':'.join(map(str, widths))}")
    return MeasuredNet(widths, *numbers)


def parse_widths(value: object) -> tuple[int, ...]:
    """Return the widths of a net from JSON values.

    Raises:
        DataError: If they are none.
    """
    if not isinstance(value, list) or not all(type(w) is int and w >= 0 for w in value):
        raise DataError(f"widths of a net must be whole numbers >= 0, got {value}")
    return tuple(value)


def _check_ms(ms: object, what: str) -> None:
    is_number = isinstance(ms, int | float) and not isinstance(ms, bool)
    if not is_number or not math.isfinite(float(ms)) or float(ms) <= 0:  # type: ignore[arg-type]
        raise DataError(f"the latency of {what} must be above 0 and finite, got {ms!r}")
