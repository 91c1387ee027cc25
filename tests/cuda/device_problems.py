"""Small sparse problems with rows of even and of uneven length."""

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP

UNEVEN = (1, 2, 7)


def sparse_problem(seed, S=11, A=2, m=2, gamma=0.9, lengths=(3,)):
    """Rows of the given lengths, in turn; signals of any sign."""
    g = np.random.default_rng(seed)
    P = np.zeros((S * A, S))
    for row in range(S * A):
        b = lengths[row % len(lengths)]
        P[row, g.choice(S, size=b, replace=False)] = g.dirichlet(np.ones(b))
    return CMDP(
        sp.csr_array(P),
        g.uniform(-1, 1, size=(S, A)),
        g.uniform(-1, 1, size=(m, S, A)),
        g.uniform(0, 1, size=m),
        g.dirichlet(np.ones(S)),
        gamma,
    )


def random_policy(seed, S, A):
    return np.random.default_rng(seed).dirichlet(np.ones(A), size=S)
