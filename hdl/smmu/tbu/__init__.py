"""Translation buffer unit: micro-TLBs, parked transactions, AXI order, termination."""
