"""The walk table: configuration fetch and translation table walks, many at once on one datapath."""
