"""A library to build plugins with: cameras, virtual headsets, packed caches, densities, layers, compiled kernels.

It is no plugin: it offers no component, and no `registry.toml` names it. It is the one package beside `lipflow_core`
that other plugins may import. Of the core it imports the ground floor alone: config, records, plans, errors,
interfaces, densities, and the modules that write files and show progress.
"""
