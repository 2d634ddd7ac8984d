"""The parts of ``benchmarks/ablation.py``: ways of showing pictures, judges, arms and the document."""
