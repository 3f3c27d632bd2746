"""The architecture's layouts as data: registers, structures, commands, events, descriptors."""
