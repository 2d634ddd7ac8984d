"""Composites, of which the benchmark of local scores asks where they are generated."""
