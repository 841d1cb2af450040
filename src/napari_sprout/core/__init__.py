"""The algorithm: numpy and torch, never napari or Qt."""
