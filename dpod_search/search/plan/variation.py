"""The genetic operators of NSGA-II on vectors of rungs: pure NumPy, no study in sight.

A vector holds one rung index for each group, 0 being the narrowest.

References:
    Deb, Pratap, Agarwal, Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm:
    NSGA-II, 2002, doi 10.1109/4235.996017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dpod_search.pareto import FloatArray
from dpod_search.pareto import find_front
from dpod_search.widths import IntArray


CROSSOVER_PROBABILITY = 0.9
SWAP_PROBABILITY = 0.5
NEIGHBOUR_PROBABILITY = 0.5
N_TRIES = 100
SMALL_SPACE = 1024

Test = Callable[[IntArray], bool]


def rank_points(points: FloatArray, n_ranked: int | None = None) -> IntArray:
    """Peel fronts off: rank 0 is not dominated, rank 1 by rank 0 only, and so on.

    Args:
        points: Shape (n, m), minimised.
        n_ranked: Stop when at least so many have a rank; None ranks all.

    Returns:
        Ranks of shape (n,). All those that were not ranked share the last one.
    """
    wanted = len(points) if n_ranked is None else min(n_ranked, len(points))
    ranks = np.full(len(points), -1)
    rank = 0
    while np.count_nonzero(ranks >= 0) < wanted:
        left = np.flatnonzero(ranks < 0)
        ranks[left[find_front(points[left])]] = rank
        rank += 1
    ranks[ranks < 0] = rank
    return ranks


def measure_crowding(points: FloatArray) -> FloatArray:
    """Measure how far each point's neighbours are from each other (Deb 2002, section III-B).

    Args:
        points: Shape (n, m).

    Returns:
        Shape (n,); infinite at the ends of every objective.
    """
    crowding = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        if not (np.isfinite(spread) and spread > 0):
            continue
        crowding[order[[0, -1]]] = np.inf
        crowding[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return crowding


def select_best(points: FloatArray, penalties: FloatArray, n: int) -> IntArray:
    """Select the best points: fewest violations, then rank, then least crowded.

    Args:
        points: Objective values, minimised; shape (n_points, m).
        penalties: Sum of constraint violations of each; shape (n_points,).
        n: How many to select.

    Returns:
        Indices of the best, best first; at most n of them.
    """
    order = np.argsort(penalties, kind="stable")
    # Whoever violates more than the n-th cannot be among the best.
    limit = penalties[order[min(n, len(order)) - 1]] if len(order) else 0.0
    rest = np.flatnonzero(penalties <= limit)
    ranks = rank_points(points[rest], n if limit <= 0 else None)
    crowding = np.zeros(len(rest))
    for rank in np.unique(ranks):
        crowding[ranks == rank] = measure_crowding(points[rest[ranks == rank]])
    return np.asarray(rest[np.lexsort((-crowding, ranks, penalties[rest]))[:n]])


def breed(parents: IntArray, sizes: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """Make children: two binary tournaments each, uniform crossover, mutation.

    Args:
        parents: Rung vectors, best first; shape (n_parents, d).
        sizes: Number of rungs of each group, shape (d,).
        n: How many children.
        rng: Source of every choice.

    Returns:
        Rung vectors of shape (n, d).
    """
    winners = rng.integers(len(parents), size=(2, n, 2)).min(axis=2)
    children = parents[winners[0]]
    swap = rng.random(children.shape) < SWAP_PROBABILITY
    swap &= rng.random((n, 1)) < CROSSOVER_PROBABILITY
    children = np.where(swap, parents[winners[1]], children)
    return mutate(children, sizes, rng)


def mutate(vectors: IntArray, sizes: IntArray, rng: np.random.Generator) -> IntArray:
    """Change each gene with probability 1/d: to a neighbouring rung, or to any.

    Neighbours keep most of what a parent is worth; any rung keeps every subnet reachable.

    Args:
        vectors: Shape (n, d).
        sizes: Number of rungs of each group, shape (d,).
        rng: Source of every choice.
    """
    changed = rng.random(vectors.shape) < 1 / len(sizes)
    step = np.where(rng.random(vectors.shape) < 0.5, -1, 1)
    near = np.clip(vectors + step, 0, sizes - 1)
    anywhere = rng.integers(np.broadcast_to(sizes, vectors.shape))
    new = np.where(rng.random(vectors.shape) < NEIGHBOUR_PROBABILITY, near, anywhere)
    return np.where(changed, new, vectors)


def scatter(sizes: IntArray, rng: np.random.Generator) -> IntArray:
    """Draw a first vector: from all of the space, or, as often, near its diagonal.

    Uniform draws all cost about the same once there are many groups; around a level that is
    drawn first they cover every cost.

    Args:
        sizes: Number of rungs of each group, shape (d,).
        rng: Source of every choice.

    Returns:
        A rung vector of shape (d,).
    """
    if rng.random() < 0.5:
        return rng.integers(sizes)
    return rng.binomial(sizes - 1, rng.random())


def shrink_to_fit(vector: IntArray, is_allowed: Test, rng: np.random.Generator) -> IntArray:
    """Narrow random groups, one rung at a time, just until a vector is allowed.

    Args:
        vector: Shape (d,).
        is_allowed: Says whether a vector is within the constraints; narrower never hurts.
        rng: Chooses which groups give way.

    Returns:
        The vector itself if it is allowed, else a narrower one. If not even the narrowest is
        allowed, the narrowest.
    """
    if is_allowed(vector):
        return vector
    steps = rng.permutation(np.repeat(np.arange(len(vector)), vector))
    low, high = 0, len(steps)
    # Footprints never grow when a group narrows, so the fewest steps are found by bisection.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if is_allowed(_narrow(vector, steps[:middle])) else (middle, high)
        )
    return _narrow(vector, steps[:high])


def find_new(
    draw: Callable[[], IntArray],
    sizes: IntArray,
    is_new: Test,
    is_allowed: Test,
    rng: np.random.Generator,
) -> IntArray:
    """Draw until a vector is new and allowed, a limited number of times.

    Args:
        draw: Makes a random vector.
        sizes: Number of rungs of each group, shape (d,).
        is_new: Says whether a vector has not been tried yet.
        is_allowed: Says whether a vector is within the constraints.
        rng: Source of every choice.

    Returns:
        A vector that is new and allowed. When the draws are used up, the rest of a small space
        is searched, or the neighbours of the last draw; if that finds nothing, it is an allowed
        duplicate.
    """
    vector = shrink_to_fit(draw(), is_allowed, rng)
    for _ in range(N_TRIES):
        if is_new(vector) and is_allowed(vector):
            return vector
        vector = shrink_to_fit(draw(), is_allowed, rng)
    left = (other for other in _list_others(vector, sizes, rng) if is_new(other))
    return next((other for other in left if is_allowed(other)), vector)


def _list_others(
    vector: IntArray, sizes: IntArray, rng: np.random.Generator
) -> Iterator[IntArray]:
    n_vectors = math.prod(sizes.tolist())
    if n_vectors <= SMALL_SPACE:
        for index in rng.permutation(n_vectors):
            yield np.array(np.unravel_index(index, sizes), dtype=np.int64)
        return
    for gene in rng.permutation(len(sizes)):
        for rung in rng.permutation(sizes[gene]):
            neighbour = vector.copy()
            neighbour[gene] = rung
            yield neighbour


def _narrow(vector: IntArray, steps: npt.NDArray[np.int64]) -> IntArray:
    return np.asarray(vector - np.bincount(steps, minlength=len(vector)))
