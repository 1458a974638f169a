"""Captures on disk: Multiface's layout, read, written, checked and looked at, and the packed cache made from it.

`layout`, `krt`, `meshes` and `pictures` know the files one by one and import no torch. `validation` lists what is wrong
with a capture, `overlay` shows whether its cameras are understood. `writing` puts any `Capture` on disk, `packing` any
`Capture` into memory-mapped arrays. `headset` films headset pictures virtually, `texels` moves colours between pictures
and textures. The facts of the format stand in docs/captures.md.
"""
