"""The processes that ``benchmarks/speed.py`` times: each loads one detector and answers a line for a line."""
