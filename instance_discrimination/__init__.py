"""Unsupervised Feature Learning via Non-Parametric Instance Discrimination (Wu et al., arXiv:1805.01978).
Start at reproduce.md.
"""
