"""The field: published detectors of generated pictures, each written anew from its paper, under one interface.

`interface` says what a detector is, `methods` holds them, a file each, and `registry` finds them; `layers` is what
several networks are built of.  `store` and `frozen` keep what training looks at again and again, `fitting` is the loop,
`training` the whole run, `weights` the file that comes out, and `scorer` what uses it.
"""
