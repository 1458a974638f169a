"""Renderers over packages that users install themselves: DRTK and nvdiffrast, with their conventions made ours."""
