"""Encoders and SAM variants behind two small protocols, and their weights."""
