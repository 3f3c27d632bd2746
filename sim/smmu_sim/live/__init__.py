"""An unmodified Linux in QEMU whose SMMU is the core, or the reference model."""
