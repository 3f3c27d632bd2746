"""The host side in plain Python: reference model, memory, driver, VFIO, iommufd, benches."""
