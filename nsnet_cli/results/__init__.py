"""Results: the document of each picture, and the files that rows are kept in."""
