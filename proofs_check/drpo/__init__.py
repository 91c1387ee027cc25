r"""DRPO: offline federated policy optimisation with two regularisers.

The source (Yue, Qin, Hua, Deng, Ren (2024), arXiv 2405.17474) announces *strict policy improvement in
every federated round* under the right balance of a pull towards each client's data and a pull towards the
server's policy. Its full text was not at hand: everything here is *ours*, the forward-KL step and the CQL
critic after the authors' public code (*code*). In plain words:

* **True in every round** for the regularised objective :math:`J_\alpha(\pi) = J(\pi) -
  \frac{\alpha}{1-\gamma} E_{d^\pi} KL(\pi\|\bar b)`, evaluated exactly, with the geometric mean, where the
  data cover the first policy and no client abstains: every round improves by an exact amount that is 0 only
  where nothing moves, and converges linearly (Theorem E: ``drpo.regularised-improvement``,
  ``drpo.regularised-rate``).
* **True under a condition** for the value J itself. A round improves iff the clients' exact gains, averaged
  where the new policy goes, are positive (Theorem A: ``drpo.theorem-a``). A sufficient condition known in
  advance is that the clients' signal agrees with the truth, :math:`\bar C > 0`, and that the step is short
  enough (Theorem C: ``drpo.balance``); a client's data alone can certify it with confidence (Theorems D and
  G: ``drpo.guarantees``, ``drpo.cql-guarantees``).
* **False in general** for J, however the weights of the server are chosen: one client with an exact critic
  can lose value in every round, for every :math:`\beta` (CE1: ``drpo.one-client``); and every client can
  improve while their mean gets worse (CE2: ``drpo.two-experts``).
"""
