"""The paper: every statement of ``proofs_check`` with proof and verdicts, typeset from the pages' own text.

``python -m paper`` writes ``paper/generated/`` from a report and has latexmk make ``paper/out/paper.pdf``.
"""
