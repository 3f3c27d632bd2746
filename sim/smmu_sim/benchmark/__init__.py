"""Figures of the core in clocks, reads and ratios, measured on the RTL: `make bench`."""
