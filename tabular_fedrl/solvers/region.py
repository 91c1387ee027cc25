r"""What all policies together achieve in the plane of one cost and the reward.

The set :math:`\{(V_c^\pi(\rho), V_r^\pi(\rho))\}` over all policies is the image of the occupancy polytope
under a linear map: a convex polygon whose vertices are values of deterministic policies. A direction u is
explored by the linear program :math:`\max_\pi \langle u, (V_c^\pi, V_r^\pi)\rangle`, an unconstrained problem
with the signal :math:`u_1 c + u_2 r`. The polygon is traced edge by edge: the outward normal of the segment
between two known neighbours either finds a vertex beyond it or proves that the segment is an edge.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers.policy_iteration import optimise

EDGE_TOLERANCE = 1e-9
"""A point this far beyond a segment, relative to the polygon's size, is on it."""


def achievable_region(cmdp: CMDP, constraint: int = 0, directions: int = 256) -> Array:
    """Vertices ``(p, 2)`` of the achievable polygon in the plane (V_c, V_r), counter-clockwise from the
    largest cost.

    ``constraint``: the number of the cost; thresholds play no part. ``directions``: at most so many linear
    programs; if they do not suffice, the polygon is an inner approximation with vertices on the boundary.

    Raises
    ------
    InvalidProblem: there is no such constraint.
    """
    if not 0 <= constraint < cmdp.m:
        raise InvalidProblem(f"constraint {constraint} does not exist: the problem has {cmdp.m}")
    signals = np.stack([cmdp.c[constraint], cmdp.r])
    scale = np.array([np.ptp(f) or 1.0 for f in signals]) / (1 - cmdp.gamma)

    def farthest(direction: Array) -> Array:
        best = optimise(cmdp, np.tensordot(direction / scale, signals, axes=1))
        return np.asarray(evaluate(cmdp, best.log_policy, signals).at_rho.value / scale)

    start = [farthest(np.array(u)) for u in ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))]
    corners = _distinct(start)
    if len(corners) < 2:
        return np.asarray(corners * scale)
    spare = directions - len(start)
    # Segments still to be explored, each with its first point's place in the finished polygon.
    edges = [(corners[i], corners[(i + 1) % len(corners)]) for i in range(len(corners))][::-1]
    vertices: list[Array] = []
    while edges:
        a, b = edges.pop()
        normal = np.array([b[1] - a[1], a[0] - b[0]])
        length = float(np.linalg.norm(normal))
        if spare > 0 and length > EDGE_TOLERANCE:
            spare -= 1
            point = farthest(normal / length)
            if float((point - a) @ normal) > EDGE_TOLERANCE * length:
                edges += [(point, b), (a, point)]
                continue
        vertices.append(a)
    return np.asarray(np.stack(vertices) * scale)


def _distinct(points: list[Array]) -> Array:
    """Points in their cyclic order without repetitions."""
    kept: list[Array] = []
    for p in points:
        if not any(np.abs(p - q).max() <= EDGE_TOLERANCE for q in kept):
            kept.append(p)
    return np.stack(kept)
