"""Speed against peers, against the machine's limits, and how cost grows: see ``benchmarks/README.md``.

``python -m benchmarks`` (or ``make bench``) measures; nothing here is imported by the package.
"""
