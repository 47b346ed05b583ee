"""Findings to verdicts, and what a verdict does to a text."""
