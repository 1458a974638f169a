"""What plugins are built with: cameras, virtual headsets, packed stores, compiled kernels, layers.

This is a library, not a plugin: it offers no component, and no `registry.toml` names it. It is the one package besides
`lipflow_core` that other plugins may import. Of the core it imports the ground floor alone: records, plans, errors,
interfaces, and the modules that write files and show progress.
"""
