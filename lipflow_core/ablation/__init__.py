"""Run grids of systems and tasks, and tell how sure their differences are."""
