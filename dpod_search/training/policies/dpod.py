"""DPOD: single-layer ordered dropout around a path of progressively shrunk profiles.

Warm-up trains the full net alone. From then on each step also trains a subnet in which *one*
group is narrower than in a profile drawn from the path so far, distilled from the full net. At
even intervals the path grows by the profile of the next cost on the way from the full net to the
floor (``shrinking.py``).

References:
    J. Liu: Optimizing Pareto Frontier via Progressive Shrinking (MSc thesis, MBZUAI, 2025), of
    which the abstract is public: single-layer sampling, ratios by layer, progressive shrinking.
    Horvath et al.: FjORD, 2021 (arXiv 2102.13451): ordered dropout.
    Yu and Huang: Universally Slimmable Networks, 2019 (arXiv 1903.05134): in-place distillation.
    Ours: profiles spaced evenly in log macs; a step draws its profile from the whole path; the
    map from the shuffled (group, rung) pairs to rungs at or below the profile's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.rng import numpy_generator
from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import PolicyContext
from dpod_search.training.policies.shrinking import Shrinking
from dpod_search.widths import Widths


@dataclass(frozen=True)
class DpodOptions:
    """When the path grows, and to how many profiles.

    Args:
        warmup_share: Share of the steps that train the full net alone, 0 to 0.99.
        growth_end: Share of the steps after which the path is complete, in (0, 1].
        n_profiles: Profiles on the path, the full net and the floor included, 2 to
            10,000.
    """

    warmup_share: float = 0.25
    growth_end: float = 0.85
    n_profiles: int = 14

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("warmup_share", self.warmup_share, low=0, high=0.99)
        check_range("growth_end", self.growth_end, low=self.warmup_share, high=1)
        check_count("n_profiles", self.n_profiles, low=2, high=10_000)


class DpodPolicy:
    """Single-layer sampling around the path of progressive shrinking.

    Args:
        context: The space, the costs and the judge of quality.
        options: When the path grows.
    """

    def __init__(self, context: PolicyContext, options: DpodOptions | None = None) -> None:
        """Start with the full net as the only profile."""
        self._context = context
        self._options = options or DpodOptions()
        self._path = [context.space.full]
        self._shrinking = Shrinking(context, self._options.n_profiles)
        self._n_warmup = round(self._options.warmup_share * context.n_steps)
        self._pairs = [
            (group, rung)
            for group, n_rungs in enumerate(context.space.n_rungs)
            for rung in range(n_rungs - 1)
        ]

    def begin_step(self, step: int) -> None:
        """Let the path grow when its next profile is due."""
        while len(self._path) < self._options.n_profiles and step >= self._due(len(self._path)):
            if self._path[-1] == self._context.space.smallest:
                return
            self._path.append(self._shrinking.shrink(self._path[-1], len(self._path)))

    def plan(self, step: int) -> Plan:
        """Return the full net and, after warm-up, one profile with one group narrowed."""
        if step < self._n_warmup or not self._pairs:
            return Plan(full=True, partial=())
        round_, place = divmod(step - self._n_warmup, len(self._pairs))
        seed = self._context.seed
        order = numpy_generator(seed, "dpod/pairs", round_).permutation(len(self._pairs))
        group, reduced = self._pairs[order[place]]
        draw = numpy_generator(seed, "dpod/profile", step)
        profile = self._path[int(draw.integers(len(self._path)))]
        return Plan(full=True, partial=(self._narrow(profile, group, reduced),))

    def path(self) -> tuple[Widths, ...]:
        """Return the profiles so far, from the full net on."""
        return tuple(self._path)

    def state(self) -> Any:
        """Return the path as rung numbers, and what its growth must keep."""
        path = [self._context.space.to_rungs(profile) for profile in self._path]
        return {"path": path, "shrinking": self._shrinking.state()}

    def restore(self, state: Any) -> None:
        """Take up the path again."""
        self._path = [self._context.space.from_rungs(rungs) for rungs in state["path"]]
        self._shrinking.restore(state["shrinking"])

    def _due(self, index: int) -> int:
        options = self._options
        done = (index - 1) / max(1, options.n_profiles - 2)
        share = options.warmup_share + done * (options.growth_end - options.warmup_share)
        # The last profile comes with the last step at the latest, however few steps there are.
        return min(round(share * self._context.n_steps), self._context.n_steps - 1)

    def _narrow(self, profile: Widths, group: int, reduced: int) -> Widths:
        # The reduced rungs 0 .. R-2 are spread evenly over the rungs at or below the profile's.
        space = self._context.space
        name, rungs = space.names[group], space.rungs[group]
        top = rungs.index(profile[name])
        n_reduced = len(rungs) - 1
        rung = reduced if top == n_reduced else reduced * (top + 1) // n_reduced
        return profile.replace(name, rungs[rung])
