"""The paper's figures: each script chooses data that ``verify`` has written and hands them to a plot.

``python -m figures`` draws all of them, as SVG and PDF. Nothing is computed here.
"""
