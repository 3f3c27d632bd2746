"""Command queue, event queue, interrupts, barrier, table master and MSI doorbell remap."""
