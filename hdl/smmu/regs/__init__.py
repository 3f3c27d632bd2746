"""The register frame of the SMMU."""
