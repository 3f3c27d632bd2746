"""Random systems: configurations, tables, garbage in them, bus errors; played on two backends."""
