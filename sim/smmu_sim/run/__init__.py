"""The main job: MSIs of a guest's devices through nested translation, and a recorded Linux."""
