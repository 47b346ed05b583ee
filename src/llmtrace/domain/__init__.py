"""The words of DESIGN as frozen values. Imports nothing of ours, and does no I/O."""
