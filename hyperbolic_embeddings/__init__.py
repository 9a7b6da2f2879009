"""Hyperbolic Image Embeddings (Khrulkov et al., CVPR 2020, arXiv:1904.02239). Start at
reproduce.md.
"""
