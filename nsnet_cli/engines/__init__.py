"""Engines: pictures made ready for the network, in this process, in workers and on a cluster."""
