"""Cohorts: what is kept of each slide, and one table and one report over many."""
