"""How time and memory grow, with one rank and with two: `python -m benchmarks.scaling [SUBJECT ...]`.

subjects.py says what is measured and what is claimed, ranks.py measures one point in fresh processes,
curves.py finds the exponents and judges them, page.py shows them.
"""
