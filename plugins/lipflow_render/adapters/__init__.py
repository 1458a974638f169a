"""Renderers that call packages which users install themselves, DRTK and nvdiffrast, and convert their conventions."""
