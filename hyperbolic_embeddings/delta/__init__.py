"""How hyperbolic is a set of features? Section 3 and Table 1 of the paper, with null controls.

Read in this order: presets.py, hyperbolicity.py, spaces.py, extractors.py, evaluate.py.
"""
