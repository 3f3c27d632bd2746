"""The scenarios, one module for each topic."""
