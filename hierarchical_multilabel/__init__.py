"""Use All The Labels: A Hierarchical Multi-Label Contrastive Learning Framework (Zhang et al.,
arXiv:2204.13207). Start at reproduce.md.
"""
