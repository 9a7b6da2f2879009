"""Combination of Multiple Global Descriptors for Image Retrieval (Jun et al., arXiv:1903.10663). Start at
reproduce.md.
"""
