"""One comparison that no paper has: every method of this repository on the same data, network and budget.

    tables.py      which rows and columns there are, and the command behind each row
    measures.py    what is measured on an export of embeddings, whatever made them
    evaluate.py    `python -m benchmarks.compare.evaluate CHECKPOINT`: export as the paper does, then measure

`make compare` walks the tables as `make reproduce-*` walks a paper's; the figures stand in README.md.
"""
