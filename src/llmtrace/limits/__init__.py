"""Budgets, rates and what becomes of a call that exceeds them."""
