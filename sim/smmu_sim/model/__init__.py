"""Functional reference model of the SMMU, in plain Python on plain integers."""

from smmu_sim.model.smmu import SMMU, Disposition, Translation

__all__ = ["Disposition", "SMMU", "Translation"]
