"""Whole slides: tiles segmented by many workers, each durable, and joined to one result."""
