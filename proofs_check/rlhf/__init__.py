r"""Federated learning from one-bit preferences: Par-S2ZPO and its relatives.

The algorithm is that of Wang, Zhang, Ying (2026), arXiv 2604.17747: K agents perturb their own blocks of the
logits by random signs, panels of people compare episodes before and after, and one bit each says which way to
step. All agents face the same problem: *federated* means in parallel, the theorems have no heterogeneity.

What people answer is computed and not sampled: the law of the return by dynamic programming, batches by
convolution, panels and majorities by binomial tails for any number of answers. Expectations over directions
are enumerated. The bounds are infinite for N of at most 16 answers whenever the link is bounded by 1/2, and
exceed the trivial range for many more; where that is so, the verdicts say *vacuous* or *not applicable*.
"""
