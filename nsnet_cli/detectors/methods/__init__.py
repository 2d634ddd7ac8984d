"""One file for each published detector.  A new one is a new file here, with ``ABOUT`` and ``DETECTOR``; that is all."""
