"""Uncertainty as distance from the origin: MNIST against Omniglot (Figures 1 and 5, Table 2).

Read in this order: presets.py, model.py, scores.py, train.py, evaluate.py, tables.py, claims.py, figures.py.
"""
