r"""Which multipliers to price next: a trust region around the best ones known.

The dual function :math:`g(\lambda) = \max_\pi V^\pi_{r-\lambda\cdot c}(\rho) + \lambda\cdot d` is convex, and
every column k priced at :math:`\lambda^k` is a plane below it that touches it there. Minimising the highest
plane (what the master program's own multipliers do) leaps between far corners while g is still unknown: with
hundreds of thousands of kinks g is all but smooth, and planes describe a smooth function badly. So each plane
is bent upwards, and the step is limited:

.. math:: \min_{\lambda \ge 0,\ |\lambda_j - \hat\lambda_j| \le R_j}\; \max_k
          \Big[ V_r^k - \lambda\cdot(V_c^k - d) + \tfrac{\theta}{2} \|\lambda - \lambda^k\|_B^2 \Big] .

B is one diagonal matrix, so all pieces share their quadratic part and this is a quadratic program in m + 1
variables. The curvature :math:`\theta \le 1` is as large as lifts no plane by more than :data:`SHARE` of the
room that is left below what is known of g at the best point :math:`\hat\lambda`: more could contradict g
there. The radius R shrinks when the model was far too low and grows after good steps. Near the end g is seen
to be polyhedral, and the master's own multipliers take turns. Bundle methods with a trust region:
Hiriart-Urruty and Lemarechal (1993), chapter XV; the bent planes are *ours*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import clarabel
import numpy as np
import scipy.sparse as sp

from tabular_fedrl.measured import Array

SHARE = 0.5
"""Part of the room between a plane and the dual function at the best point that its bend may fill. With all
of it the model would touch g there, and its minimum stay at the best point."""

FALL = 0.3
"""The curvature falls to no less than this part of itself at a time: planes are tilted a little, and one
alone can leave no room where there is some."""


@dataclass
class Prices:
    """What is known of the dual function of one problem.

    ``radius``, ``curvature`` ``(m,)``: R and the diagonal of B. ``points``: multipliers priced. ``best``,
    ``upper``: where the dual function is lowest. ``theta``: the curvature last used. ``expected``: the
    planes' and the model's value at the next multipliers.
    """

    radius: Array
    curvature: Array
    thresholds: Array
    best: Array
    upper: float = np.inf
    theta: float = 1.0
    points: list[Array] = field(default_factory=list)
    expected: tuple[float, float] | None = None

    @staticmethod
    def between(cheap: Array, greedy: Array, units: Array, thresholds: Array) -> Prices:
        """The first guess of scales, from the values ``(1+m,)`` of a feasible and of the greedy policy;
        ``units (1+m,)`` say what is small."""
        gain = max(greedy[0] - cheap[0], 1e-3 * units[0])
        spent = np.maximum(greedy[1:] - cheap[1:], 1e-3 * units[1:])
        radius = gain / (spent.size * spent)
        return Prices(radius, spent / radius, thresholds, np.zeros(spent.size))

    def observe(self, multipliers: Array, values: Array, upper: float) -> None:
        """The column of ``values (1+m,)`` was found at these multipliers, where g is at most ``upper``."""
        if self.expected is not None:
            planes, model = self.expected
            # Where pricing is inexact, its bound is above what the new plane says.
            bent = (float(values[0] + multipliers @ (self.thresholds - values[1:])) - planes) / max(
                model - planes, 1e-300
            )
            step = float((np.abs(multipliers - self.best) / self.radius).max())
            if upper < self.upper - 0.1 * (self.upper - model):
                better = upper < self.upper - 0.5 * (self.upper - model)
                self.radius = self.radius * (2.0 if better and step > 0.5 else 1.0)
            elif bent > 2:
                self.radius = self.radius * max(0.5 * step, 0.1)
        self.expected = None
        self.points.append(multipliers)
        if upper < self.upper:
            self.upper, self.best = upper, multipliers

    def following(self, columns: Array) -> Array | None:
        """The next multipliers ``(m,)``, from the values ``(K, 1+m)`` of the columns found at the points;
        None if they are no new ones."""
        points, heights, slopes = np.array(self.points), columns[:, 0], self.thresholds - columns[:, 1:]
        bend = self._bend(heights + slopes @ self.best, points)
        pieces = heights + 0.5 * (points**2 @ bend), slopes - points * bend
        found = _lowest(bend, *pieces, self.best, self.radius)
        if found is None or (np.abs(points - found) <= 1e-11 * (1 + np.abs(found))).all(axis=1).any():
            return None
        model = float((pieces[0] + pieces[1] @ found).max() + 0.5 * (found**2 @ bend))
        self.expected = float((heights + slopes @ found).max()), model
        return found

    def _bend(self, planes: Array, points: Array) -> Array:
        r""":math:`\theta B`, ``(m,)``, from the values ``(K,)`` of the planes at the best point."""
        room = SHARE * np.maximum(self.upper - planes, 0.0)
        lift = 0.5 * (points - self.best) ** 2 @ self.curvature
        most = float((room[lift > 0] / lift[lift > 0]).min(initial=1.0))
        self.theta = max(most, FALL * self.theta)
        return self.theta * self.curvature


def _lowest(bend: Array, heights: Array, slopes: Array, centre: Array, radius: Array) -> Array | None:
    r"""Minimise :math:`\tfrac12 \lambda^T \mathrm{diag}(bend) \lambda + \max_k (heights_k + slopes_k
    \lambda)` over the box around ``centre``, in steps of the radius."""
    m = centre.size
    at_centre = heights + slopes @ centre
    steep = slopes * radius
    unit = max(float(np.abs(steep).max()), np.finfo(float).tiny)
    quadratic = np.append(bend * radius**2, 0.0) / unit
    linear = np.append(bend * centre * radius / unit, 1.0)
    eye = np.hstack([np.eye(m), np.zeros((m, 1))])
    sides = np.vstack([np.hstack([steep / unit, -np.ones((len(steep), 1))]), -eye, eye])
    room = np.concatenate(
        [(at_centre.max() - at_centre) / unit, np.minimum(centre / radius, 1.0), np.ones(m)]
    )
    settings: Any = clarabel.DefaultSettings()
    settings.verbose = False
    answer = clarabel.DefaultSolver(
        sp.csc_matrix(sp.diags(quadratic)), linear, sp.csc_matrix(sides), room,
        [clarabel.NonnegativeConeT(len(room))], settings,
    ).solve()  # fmt: skip
    step = np.array(answer.x)[:m]
    return np.maximum(centre + radius * step, 0.0) if np.isfinite(step).all() else None
