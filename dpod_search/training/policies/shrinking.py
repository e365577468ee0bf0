"""How the path of progressive shrinking grows: greedily, and within what scoring may cost.

The last profile is shrunk one group and one rung at a time, each time where the least quality is
lost per log of macs saved, until the next cost on the way from the full net to the floor is
reached. The scores of it must not cost more than ``PolicyContext.scoring_macs``. The rule counts
macs and never looks at a clock, so that a resumed training grows the same path:

1. Fewer pictures. If all of them are expected to cost too much, a score looks at as many as fit,
   but not at fewer than ``MIN_IMAGES``.
2. A sparser path. What scoring may cost is dealt out to the profiles by what each is expected to
   need, and what one leaves is the next one's. A profile that cannot score every group once is
   not scored.
3. Fewer candidates. When a profile has spent what it may, the rest of its shrinks are not scored.

A shrink that is not scored goes by the losses found last. The rung below one that was taken is
thought to lose twice as much, and before any score all groups are thought to lose alike.

References:
    Minoux: Accelerated Greedy Algorithms for Maximizing Submodular Set Functions, 1978.
    Ours: the price of a shrink, and how its cost is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from itertools import accumulate
from typing import Any

from dpod_search.training.policies.base import PolicyContext
from dpod_search.widths import Widths


# On fewer, BatchNorm's statistics and the quality itself are too rough to choose by.
MIN_IMAGES = 256

# What a shrink is thought to lose at least: noise can make a loss look like a gain.
_LEAST_LOSS = 1e-4


@dataclass
class _Growth:
    """A profile in the making.

    Args:
        profile: How far it is.
        allowed: Macs that all scores up to its end may have cost.
        quality: Its score; None where shrinks are not scored, or not any more.
        losses: What each group's next rung lost when it was last scored for this profile.
    """

    profile: Widths
    allowed: float
    quality: float | None = None
    losses: dict[str, float] = field(default_factory=dict)


class Shrinking:
    """Makes the profiles of a path, each from the one before it.

    Args:
        context: The space, the costs, the judge of quality and what it may cost.
        n_profiles: Profiles on the path, the full net and the floor included, >= 2.
    """

    def __init__(self, context: PolicyContext, n_profiles: int) -> None:
        """Deal out what scoring may cost."""
        self._context = context
        self._n_profiles = n_profiles
        self._spent = 0.0
        self._losses = dict.fromkeys(context.space.names, 1.0)
        self._n_expected = self._expect_scores()
        needs = [n * math.exp(self._log_target(index)) for index, n in enumerate(self._n_expected)]
        fitting = context.scoring_macs / max(sum(needs), 1)
        self._n_images = context.n_scored
        if fitting < context.n_scored:
            self._n_images = min(context.n_scored, max(MIN_IMAGES, math.floor(fitting)))
        self._allowed = [fitting * need for need in accumulate(needs)]

    def shrink(self, profile: Widths, index: int) -> Widths:
        """Shrink a profile, greedily, to the cost of the path's profile number ``index``.

        Args:
            profile: The path's profile number ``index - 1``.
            index: From 1; the full net is number 0.
        """
        floor = self._context.space.smallest
        target = self._log_target(index) + 1e-9
        growth = _Growth(profile, self._allowed[index - 1])
        if math.log(self._cost(profile)) <= target:
            return profile
        is_scored = self._can_score_all(growth)
        if is_scored:
            task = f"path {index + 1} of {self._n_profiles}: scoring"
            self._context.progress.start(task, self._n_expected[index - 1])
            growth.quality = self._score(profile)
        while math.log(self._cost(growth.profile)) > target and growth.profile != floor:
            self._shrink_once(growth)
        if is_scored:
            self._context.progress.finish()
        return growth.profile

    def state(self) -> dict[str, Any]:
        """Return what must be kept to go on from here, as JSON values."""
        return {"spent": self._spent, "losses": list(self._losses.values())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self._spent = float(state["spent"])
        self._losses = dict(zip(self._context.space.names, state["losses"], strict=True))

    def _shrink_once(self, growth: _Growth) -> None:
        """Narrow one group by one rung, where quality lost per log macs saved is least.

        What a group's next rung loses hardly falls while the others shrink, so a loss that was
        found for a wider profile is taken for a lower bound: groups are scored again in the order
        of their prices until one is not dearer than the next one at least is ("lazy greedy").
        That scores a few subnets for each shrink instead of one for each group.
        """
        narrower = self._list_narrower(growth.profile)
        cost = self._cost(growth.profile)
        saved = {n: max(math.log(cost / self._cost(w)), 1e-12) for n, w in narrower.items()}
        scores: dict[str, float] = {}
        while growth.quality is not None:
            name = min(narrower, key=lambda n: growth.losses.get(n, -math.inf) / saved[n])
            if name in scores:
                growth.quality = scores[name]
                break
            if not self._can_score(narrower[name], growth):
                growth.quality = None
                break
            scores[name] = self._score(narrower[name])
            growth.losses[name] = growth.quality - scores[name]
            self._losses[name] = max(_LEAST_LOSS, growth.losses[name])
        if growth.quality is None:
            name = min(narrower, key=lambda n: self._losses[n] / saved[n])
        growth.losses.pop(name, None)  # its next rung is another one
        self._losses[name] *= 2
        growth.profile = narrower[name]

    def _list_narrower(self, profile: Widths) -> dict[str, Widths]:
        """Return the profile with the next rung of each group that has one."""
        space = self._context.space
        return {
            name: profile.replace(name, rungs[rungs.index(profile[name]) - 1])
            for name, rungs in zip(space.names, space.rungs, strict=True)
            if profile[name] != rungs[0]
        }

    def _score(self, widths: Widths) -> float:
        context = self._context
        self._spent += self._n_images * self._cost(widths)
        is_whole = self._n_images == context.n_scored
        quality = context.score(widths) if is_whole else context.score(widths, self._n_images)
        context.progress.advance()
        return quality

    def _can_score(self, widths: Widths, growth: _Growth) -> bool:
        return self._spent + self._n_images * self._cost(widths) <= growth.allowed

    def _can_score_all(self, growth: _Growth) -> bool:
        """Say whether a profile and each of its shrinks can be scored once."""
        asked = [growth.profile, *self._list_narrower(growth.profile).values()]
        return self._spent + self._n_images * sum(map(self._cost, asked)) <= growth.allowed

    def _expect_scores(self) -> list[int]:
        """Return about how many scores each profile takes, the first one after the full net.

        Each of its groups is scored, and for every shrink one or two. How many shrinks it takes
        is told as if the groups shrank in turn.
        """
        space = self._context.space
        n_reduced = [n - 1 for n in space.n_rungs]
        rungs = list(n_reduced)
        n_scores = [0] * (self._n_profiles - 1)
        for index in range(1, self._n_profiles):
            n_groups, n_shrinks = sum(rung > 0 for rung in rungs), 0
            target = self._log_target(index) + 1e-9
            while any(rungs) and math.log(self._cost(space.from_rungs(rungs))) > target:
                widest = max(range(len(rungs)), key=lambda g: rungs[g] / max(n_reduced[g], 1))
                rungs[widest] -= 1
                n_shrinks += 1
            n_scores[index - 1] = n_groups + math.ceil(1.5 * n_shrinks) if n_shrinks else 0
        return n_scores

    def _log_target(self, index: int) -> float:
        """Return the log of the macs that profile number ``index`` may have."""
        space = self._context.space
        full, floor = (math.log(self._cost(w)) for w in (space.full, space.smallest))
        return full + index / (self._n_profiles - 1) * (floor - full)

    def _cost(self, widths: Widths) -> float:
        return max(self._context.cost(widths), 1)
