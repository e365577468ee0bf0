"""Closed-form repair: the weights with which a narrow net comes nearest to the full one.

A subnet of a net that was trained at full width alone is far worse than it needs to be: what was cut off is
missing, and the layers behind make too much of the rest. So each layer that multiplies by a weight is solved again, in the
order in which they run: by ridge regression from the inputs that it has in the narrow net to the
outputs that it has in the full one, on pictures without labels. One forward pass does it, and
estimates the statistics of the norms besides.

The penalty is on the change of the weights, so that the full net is left as it is. It counts as if
:data:`PRIOR` pictures said that the weights are right as they were cut.

References:
    He et al.: Channel Pruning for Accelerating Very Deep Neural Networks, 2017 (arXiv 1707.06168):
    least squares on feature maps, layer by layer. Ours: all widths of a net from one record of
    the full net's outputs, within the pass that calibrates the norms.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch import nn

from dpod_search.evaluation.calibration import calibrated
from dpod_search.evaluation.calibration import has_statistics
from dpod_search.evaluation.calibration import in_evaluation_mode
from dpod_search.evaluation.evaluator import CalibratedSubnet
from dpod_search.evaluation.evaluator import Evaluator
from dpod_search.footprint import build_footprint
from dpod_search.inputs import Example
from dpod_search.inputs import ModelCall
from dpod_search.inputs import call_with_samples
from dpod_search.rng import torch_generator
from dpod_search.supernet import LayerPlan
from dpod_search.supernet import Supernet
from dpod_search.supernet import kind_of
from dpod_search.supernet.extract import count_holders
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import list_places
from dpod_search.supernet.layout import take
from dpod_search.supernet.tracing.computed import holder_of
from dpod_search.widths import Widths


_logger = logging.getLogger(__name__)

PRIOR = 50.0
_MAX_BYTES = 2**31  # of activations
N_PLACES = 4  # of a layer's output, drawn anew for each picture


@dataclass(frozen=True, eq=False)
class _Record:
    """What the target's layer gives.

    Args:
        plan: Of the layer.
        places: Which positions of the output were looked at, shape (N, n_places).
        outputs: What was there, shape (N * n_places, output channels of the full net).
    """

    plan: LayerPlan
    places: Tensor
    outputs: Tensor


class Repair:
    """Repairs the subnets of one supernet.

    Args:
        supernet: Left as it was after each call.
        images: Shape (n, *example_shape), without labels; on the supernet's device.
        target: What subnets shall come near to, no narrower than they are; by default the full net.
        seed: Of the positions that are looked at.

    Attributes:
        left: Why layers that can be narrowed stay as they are cut, by name.
    """

    def __init__(
        self,
        supernet: Supernet,
        images: Example | ModelCall,
        *,
        target: Widths | None = None,
        seed: int = 0,
    ) -> None:
        """Run the target once."""
        self._supernet = supernet
        self._target = supernet.space.full if target is None else target
        call = call_with_samples(images)
        self._n_images = call.n_samples
        self._seed = seed
        self.left: dict[str, str] = {}
        self._records = self._record(call)

    def _record(self, call: ModelCall) -> Mapping[nn.Module, _Record]:
        net, found = self._supernet.net, dict[nn.Module, _Record]()
        calls = Counter(
            operation.what
            for operation in self._supernet.grouping.operations
            if operation.kind == "module"
        )
        holders = count_holders(net)
        handles = []
        for plan in self._supernet.grouping.layers:
            layer = net.get_submodule(plan.name)
            kind = kind_of(layer)
            if not kind.makes_units or not plan.is_elastic:
                continue
            if kind.regression is None:
                self.left[plan.name] = f"a {kind.name} layer has no closed form here"
            elif holders[id(layer.get_parameter(kind.weight))] > 1:
                self.left[plan.name] = "its weight is another layer's, too"
            elif calls[plan.name] != 1:
                self.left[plan.name] = "it is not called once by itself"
            else:
                handles.append(layer.register_forward_hook(self._recorder(plan, found)))
        self.left |= dict.fromkeys(_list_computed(self._supernet), "its weight is computed")
        try:
            with self._supernet.active(self._target), _running_calibrating(self._supernet, call):
                pass
        finally:
            for handle in handles:
                handle.remove()
        return found

    def _recorder(
        self, plan: LayerPlan, found: dict[nn.Module, _Record]
    ) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            regression = kind_of(layer).regression
            assert regression is not None
            n_positions = regression.count(output)
            generator = torch_generator(self._seed, "repair", plan.name)
            shape = (len(output), min(N_PLACES, n_positions))
            places = torch.randint(n_positions, shape, generator=generator).to(output.device)
            seen = regression.pick(output, places)
            # By the places that channels have in the full net.
            outputs = seen.new_zeros((len(seen), full_size(plan.output)))
            outputs[:, list_places(plan.output, self._target.active)] = seen
            found[layer] = _Record(plan, places, outputs)

        return record

    @contextmanager
    def solving(self, widths: Widths) -> Iterator[None]:
        """Solve each layer as the supernet runs for the first time inside the block.

        Args:
            widths: Those it runs at; its norms must use the statistics of the batch.
        """
        handles = []
        if widths != self._target:
            penalty = PRIOR / self._n_images
            for layer, record in self._records.items():
                solver = _Solver(self._supernet, record, penalty)
                handles.append(layer.register_forward_pre_hook(solver, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Give all weights that are solved inside the block back their values after it."""
        parameters = [p for layer in self._records for p in layer.parameters(recurse=False)]
        kept = [parameter.detach().clone() for parameter in parameters]
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, before in zip(parameters, kept, strict=True):
                    parameter.copy_(before)


def _list_computed(supernet: Supernet) -> Iterator[str]:
    """Yield the layers without a plan of which parameters are cut where a weight is computed."""
    grouping = supernet.grouping
    planned = {plan.name for plan in grouping.layers}
    holders = [holder_of(p.name) for p in grouping.parameters if p.is_elastic and p.is_learnt]
    for name in dict.fromkeys(holders):
        kind = kind_of(supernet.net.get_submodule(name))
        if name not in planned and kind.twins and kind.makes_units and kind.multiplies:
            yield name


class _Solver:
    """Solves one layer as it is about to run."""

    def __init__(self, supernet: Supernet, record: _Record, penalty: float) -> None:
        self._widths = supernet.widths.active
        self._record = record
        self._penalty = penalty

    @torch.no_grad()
    def __call__(
        self, layer: nn.Module, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor]
    ) -> None:
        plan, record, widths = self._record.plan, self._record, self._widths
        kind = kind_of(layer)
        assert kind.regression is not None
        x = inputs[0] if inputs else named["input"]
        rows = _widen(kind.regression.gather(layer, x, record.places))
        wanted = _widen(take(record.outputs, 1, plan.output, widths))
        weight: Tensor = layer.get_parameter(kind.weight)
        bias: Tensor | None = getattr(layer, "bias", None)
        at = [list_places(axis, widths) for axis in kind.lay_out(layer, plan).first]
        part = weight[at[0][:, None], at[1]]
        n_groups = len(rows)
        before = _widen(part.reshape(n_groups, len(part) // n_groups, -1).transpose(1, 2))
        targets = wanted.reshape(len(wanted), n_groups, -1).transpose(0, 1)
        if bias is not None:
            rows = torch.cat([rows, rows.new_ones((*rows.shape[:2], 1))], 2)
            before = torch.cat([before, _widen(bias[at[0]].reshape(n_groups, 1, -1))], 1)
        solved = before + _solve(rows, targets - rows @ before, self._penalty)
        solved = solved.to(weight.dtype)
        if bias is not None:
            bias[at[0]] = solved[:, -1].reshape(-1)
            solved = solved[:, :-1]
        weight[at[0][:, None], at[1]] = solved.transpose(1, 2).reshape(part.shape)


def _widen(tensor: Tensor) -> Tensor:
    """Return numbers that can be solved with: those of 16 bits cannot."""
    return tensor.float() if tensor.element_size() < 4 else tensor


def _solve(rows: Tensor, wanted: Tensor, penalty: float) -> Tensor:
    """Solve ridge regressions side by side.

    Args:
        rows: Shape (n, n_rows, n_inputs).
        wanted: Shape (n, n_rows, n_outputs).
        penalty: On the solution's squares, in units of the mean of the inputs' squares.

    Returns:
        Shape (n, n_inputs, n_outputs).
    """
    transposed = rows.transpose(1, 2)
    strength = penalty * rows.square().sum((1, 2)) / rows.shape[2]
    # What is zero throughout has nothing to say, and must not be divided by.
    strength = (strength + torch.finfo(rows.dtype).tiny)[:, None]
    is_wide = rows.shape[1] < rows.shape[2]  # then the dual problem is the smaller one
    products = rows @ transposed if is_wide else transposed @ rows
    products.diagonal(dim1=1, dim2=2).add_(strength)
    factor, info = torch.linalg.cholesky_ex(products)
    if bool(info.any()):  # numbers of no use: the weights stay as they are cut
        return rows.new_zeros((len(rows), rows.shape[2], wanted.shape[2]))
    if is_wide:
        return transposed @ torch.cholesky_solve(wanted, factor)
    return torch.cholesky_solve(transposed @ wanted, factor)


@contextmanager
def _running_calibrating(supernet: Supernet, call: ModelCall) -> Iterator[None]:
    """Run a supernet on all pictures at once; its norms keep what they saw until the block ends.

    Norms stand by themselves here: what is looked at is the layer in front.
    """
    with (
        in_evaluation_mode(supernet),
        calibrated(supernet, call, batch_size=max(1, call.n_samples)),
    ):
        if not has_statistics(supernet):  # then it was not run
            with torch.no_grad():
                call.run(supernet)
        yield


class RepairingEvaluator(Evaluator):
    """Measures subnets after their repair, which lasts as long as they are lent.

    Args:
        supernet: The weight-sharing parent; it is left as it was after every call.
        calibration_images: Shape (n, *example_shape): what layers are solved on and BatchNorm
            statistics estimated, all at once; the first of them, as many as two gibibytes hold the
            activations of.
        batch_size: Of no effect here.
        target: What subnets are repaired to come near to; by default the full net.
        is_told: Warn of layers that cannot be solved, and of pictures that are too many, when a
            subnet is first measured.
    """

    def __init__(
        self,
        supernet: Supernet,
        calibration_images: Example | ModelCall,
        *,
        batch_size: int = 1024,
        target: Widths | None = None,
        is_told: bool = False,
    ) -> None:
        """Keep as many pictures as fit."""
        peak = build_footprint(supernet).measure(supernet.space.full)["peak_bytes"]
        n_images = max(2, int(_MAX_BYTES // max(1, peak)))
        call = call_with_samples(calibration_images)
        super().__init__(supernet, call.take(slice(n_images)), batch_size=batch_size)
        self._n_given = call.n_samples
        self._target = target
        self._is_told = is_told

    @cached_property
    def repair(self) -> Repair:
        """What solves the layers; made when it is first asked for."""
        made = Repair(self.supernet, self._call, target=self._target)
        if self._is_told:
            if self._call.n_samples < self._n_given:
                _logger.warning(
                    "repair: %d of %d calibration pictures are used, for more would take much memory",
                    self._call.n_samples,
                    self._n_given,
                )
            for layer, reason in made.left.items():
                _logger.warning("repair: %s stays as it is cut: %s", layer, reason)
        return made

    @contextmanager
    def calibrated(self, widths: Widths) -> Iterator[CalibratedSubnet]:
        """Run the supernet as a repaired subnet; arguments and errors as of :class:`Evaluator`."""
        normed_layers = self._normed_layers
        repair = self.repair
        with self.supernet.active(widths), repair.restoring(), ExitStack() as stack:
            with repair.solving(widths):
                stack.enter_context(_running_calibrating(self.supernet, self._call))
            yield CalibratedSubnet(self.supernet, widths, normed_layers)


def make_evaluator(
    supernet: Supernet,
    calibration_images: Example | ModelCall,
    *,
    batch_size: int = 1024,
    repair: bool = False,
    target: Widths | None = None,
    is_told: bool = False,
) -> Evaluator:
    """Make what measures the subnets of a supernet, after their repair if it is asked for.

    Args:
        supernet: The weight-sharing parent.
        calibration_images: Shape (n, *example_shape).
        batch_size: Pictures run at once in calibration; with ``repair`` all are.
        repair: Whether layers are solved in closed form.
        target: As for :class:`RepairingEvaluator`.
        is_told: Likewise.
    """
    if not repair:
        return Evaluator(supernet, calibration_images, batch_size=batch_size)
    return RepairingEvaluator(
        supernet, calibration_images, batch_size=batch_size, target=target, is_told=is_told
    )
