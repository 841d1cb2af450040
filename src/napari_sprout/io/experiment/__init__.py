"""A matrix of settings measured on annotated images: what to run, what came of it, tables."""
