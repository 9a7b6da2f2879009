"""Person re-identification with a Euclidean and a hyperbolic head: Table 5 of the paper.

Read in this order: presets.py, model.py, train.py, evaluate.py.
"""
