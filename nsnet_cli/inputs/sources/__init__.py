"""Where pictures lie: files, members of archives, cells of Parquet tables, objects at an address.

A picture's *address* is what its row calls ``path``: a file's path; a URL that fsspec knows, ``s3://bucket/a.jpg``;
or either of them with a member behind an exclamation mark, ``shard-000.tar!a/b.jpg``, ``table.parquet!image/17``.
Nothing touches the network but an address that names it.
"""

from nsnet_cli.inputs.sources.read import SourceStat, modified, read_source, stat_source

__all__ = ["SourceStat", "modified", "read_source", "stat_source"]
