"""Worst-case search: the instance of a family on which a bound comes closest to failing.

``search(theorem, family, budget, seed)`` maximises lhs/rhs over transition kernels, signals, thresholds,
initial distributions, discounts and the theorem's free parameters, and says where the slack of the proof is
lost there. A page helps by naming in ``space`` the free parameters to vary, in ``family`` the instances to
look among, and by a method ``batch`` that evaluates many instances at once.
"""

from tabular_fedrl.claims.search.found import Found
from tabular_fedrl.claims.search.profile import looseness
from tabular_fedrl.claims.search.run import Search, search

__all__ = ["Found", "Search", "looseness", "search"]
