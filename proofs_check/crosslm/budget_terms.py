r"""The terms of C2: an update, a task of reference, and what a run of the algorithm adds up to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.crosslm.updates import Update, law
from proofs_check.drpo.laws import Law, kl, span
from tabular_fedrl.algorithms.crosslm import CrossLM, tilt
from tabular_fedrl.measured import Measured


@dataclass(frozen=True)
class Budget:
    """An update, the performance ``task (B, A)`` of reference on the items, and a run of the algorithm from
    the same kind of generator."""

    update: Update
    task: Measured
    run: CrossLM

    @cached_property
    def forgotten(self) -> Measured:
        r""":math:`KL(G_\eta\|G)`"""
        return kl(self.update.tilted, self.update.G)

    @property
    def paid(self) -> Measured:
        r""":math:`\eta (E_{G_\eta}\bar s - E_G\bar s)`"""
        return self.update.gain(self.update.tilted) * self.update.eta

    @cached_property
    def exponent(self) -> Measured:
        r""":math:`\eta h`"""
        return self.update.span * self.update.eta

    def farthest(self, part: float = 4.0) -> Measured:
        r""":math:`\tanh^2(\eta h/4)`, or of another ``part`` of the exponent"""
        twice = (self.exponent * 2.0 / part).expm1()
        return (twice / (twice + 2.0)) ** 2

    @cached_property
    def change(self) -> Measured:
        r""":math:`(E_{G_\eta} f - E_G f)^2`"""
        u = self.update
        return ((u.tilted.p - u.G.p) * self.task).sum(-1) ** 2

    @cached_property
    def task_span(self) -> Measured:
        """``(span f)^2`` over G's items"""
        return span(self.task, self.update.G.support) ** 2

    # ---- the run -------------------------------------------------------------------------------------------
    @cached_property
    def total(self) -> Measured:
        r""":math:`\sum_t \bar s_t`, ``(S, A)``"""
        return Measured.stack([Measured.of(s) for s in self.run.mean_scores]).sum(0)

    @cached_property
    def ends(self) -> tuple[Law, Law]:
        r""":math:`G_0`, and :math:`G_T` as the tilt of it by all the scores that were sent."""
        first, everywhere = Measured.of(self.run.generators[0]), np.ones(self.total.shape, dtype=bool)
        return law(first, everywhere), law(tilt(first, self.total, self.update.eta), everywhere)

    @cached_property
    def spans(self) -> Measured:
        r"""Spans of :math:`\bar s_t`, ``(T, S)``."""
        scores = Measured.stack([Measured.of(s) for s in self.run.mean_scores])
        return scores.max(-1) - scores.min(-1)
