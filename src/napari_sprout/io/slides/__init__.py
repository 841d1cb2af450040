"""Whole slides: one protocol behind which every format of scanner stands."""
