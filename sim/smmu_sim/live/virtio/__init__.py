"""Virtio devices whose every access to memory goes through a backend."""
