"""Sweeps: many runs over instances, parameters and seeds, into one table.

>>> from concurrent.futures import ThreadPoolExecutor
>>> from tabular_fedrl.sweeps import sweep
>>> with ThreadPoolExecutor(2) as executor:
...     table = sweep(
...         "fednpg", "garnet:S=5,A=3,b=2,seed=0..2", rounds=20, executor=executor,
...         grid={"eta": [0.1, 0.5], "local_steps": [1, 4]},
...     )
>>> table["gap"].shape
(12,)
>>> means = {E: table["gap"][table["local_steps"] == E].mean() for E in (1, 4)}

With ``out="sweep.arrow"`` the rows are appended to a file as they come; after a kill, ``resume=True`` goes
on. On a cluster (extra ``dask``)::

    with Client("tcp://scheduler:8786") as client:
        sweep(..., executor=client.get_executor(), workers=sum(client.nthreads().values()))
"""

from tabular_fedrl.sweeps.drive import sweep
from tabular_fedrl.sweeps.files import read_sweep

__all__ = ["read_sweep", "sweep"]
