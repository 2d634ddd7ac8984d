"""Results: the document of each picture, and the files that rows are kept in."""

# What ours is called among detectors.
NS_NET = "ns-net"
