"""The engines that ``benchmarks/engines.py`` compares: each a tower behind one call, in a process of its own."""
