"""Command-line tools: Verilog export, synthesis, generated documents."""
