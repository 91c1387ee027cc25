"""Centralised natural policy gradient primal-dual (Ding, Zhang, Basar, Jovanovic)."""
