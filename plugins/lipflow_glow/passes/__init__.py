"""The two ways of going through a folded flow, forward and backward: by torch's operations, and compiled for CPUs."""
