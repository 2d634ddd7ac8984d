"""What each container of a picture carries beside its pixels: segments, chunks, boxes, tags, by hand and bounded.

One module a container.  Each lists every part with its place and size (`carried.Part`), and hands over the blocks that
say something: EXIF, XMP, IPTC-IIM, keyed texts, JUMBF, thumbnails.  Nothing here knows what they mean.
"""
