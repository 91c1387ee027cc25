r"""Fed-SE: clients that learn from their own successes, each in an environment of its own.

The source (Chen et al. (2025), arXiv 2512.08870) announces no theorem. Its method, success-filtered
likelihood with low-rank adapters averaged by a server, has an exact tabular form, and every statement about
it here is *ours*. In plain words:

* **Filtered likelihood improves.** The maximiser has a closed form (``fed-se.closed-form``); every gain of
  the exact filtered likelihood raises the probability of success, with adapters of any rank
  (``fed-se.monotone``); with the cumulative buffer too if a client is by itself and every fit a maximiser,
  and not in general otherwise (``fed-se.buffer``). Without the filter the exact update is the identity
  (``fed-se.no-filter``).
* **Averaging factors is not averaging adapters.** What it leaves out is a cross-covariance
  (``fed-se.aggregation``), it depends on how the factors are written (``fed-se.gauge``), and it cannot be
  better than the best approximation of low rank (``fed-se.rank``).
* **Averaging can hurt.** With goals that differ, clients end below what they reach by themselves, and some
  below the policy they began with (``fed-se.transfer``).
"""
