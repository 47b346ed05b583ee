"""Endings: how an answer ends before its time, in its dialect's own way. Table: ``registry``."""
