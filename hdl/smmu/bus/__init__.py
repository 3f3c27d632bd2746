"""AXI signatures and the clients of the table master."""
