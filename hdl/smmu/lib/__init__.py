"""Generic stream blocks."""
