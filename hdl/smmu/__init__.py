"""An Arm SMMUv3 in Amaranth: formats, parameters, the parts of the design, and its tools."""
