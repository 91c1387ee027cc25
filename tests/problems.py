"""Small random CMDPs for tests of the numerical core."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP

GAMMAS = (0.0, 0.3, 0.9, 0.99, 0.999)


def random_cmdp(
    seed: int, *, S: int, A: int, m: int, gamma: float, sparse: bool = False, tight: float = 0.5
) -> CMDP:
    """Dirichlet rows with zeros; thresholds a fraction ``tight`` of the way from the least to the largest
    cost/(1-gamma)."""
    g = np.random.default_rng(seed)
    P = g.dirichlet(np.ones(S), size=(S, A)) * (g.random((S, A, S)) < 0.6)
    P[..., 0] += 1e-3
    P /= P.sum(axis=-1, keepdims=True)
    r = g.random((S, A))
    c = g.random((m, S, A)) * (g.random((m, S, A)) < 0.6)
    rho = g.dirichlet(np.ones(S))
    d = tight * g.uniform(0.5, 1.5, size=m) * c.mean(axis=(1, 2)) / (1 - gamma) if m else np.zeros(0)
    kernel = sp.csr_array(P.reshape(S * A, S)) if sparse else P
    return CMDP(kernel, r, c, d, rho, gamma)


def bandit(r, c=(), d=()) -> CMDP:
    """One state, gamma = 0: values are expectations of the signals."""
    A = len(r)
    return CMDP(
        np.ones((1, A, 1)), [r], np.reshape(np.asarray(c, dtype=float), (len(d), 1, A)), d, [1.0], 0.0
    )
