"""Framings: byte streams cut into frames. The table of them is in ``registry``."""
