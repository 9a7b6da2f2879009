"""Speed and memory against peers on the same inputs: `python -m benchmarks [TOPIC ...] [--scale small|full]`.

One function per topic in topics.py; measure.py times the contenders and reads their peak memory. How our own
time and memory grow, with one rank and with two: `python -m benchmarks.scaling`, see scaling/.
"""
