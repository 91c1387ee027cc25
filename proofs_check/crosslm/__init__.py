r"""CrossLM: a server's generator and clients' small models improve each other.

The source, Deng et al. (2023), arXiv 2312.05842, announces no theorem; every statement here is
*ours*, about its tabular form: a state of the problem is a context, an action an item, and what an agent sees
of the items, scaled to [0, 1], is that client's score (``proofs_check.crosslm.updates``). In plain words:

* the clients' mean score rises in every update, by exactly known amounts, and a single client's need not
  (``crosslm.gain``);
* the exponential tilt forgets no more than it is paid for: the divergence from where it began is at most
  :math:`\eta` times what the scores gained, over any number of rounds; the filter has no such budget
  (``crosslm.budget``);
* generated items help a client iff the generator is nearer to its law than a threshold, in the 2-norm and not
  in total variation (``crosslm.pooled``); and only as long as they do not depend on its own sample;
* what the filter drops never returns, and the generator may collapse to one item (``crosslm.collapse``).

On tabular records of clients that differ (a study of ``crosslm.pooled``) one gentle tilt improves both the
generator and what the clients make of it. Sharper tilts and the filter are worth less to the clients than the
generator as it was, and after many rounds of either they are worse off than with their private records alone:
all scores favour what is common already, and the loop collapses onto it.
"""
