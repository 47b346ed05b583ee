"""The shipped test kit: a scripted provider, ways to misbehave, a relay, a demo scenario.

Everything here listens on loopback only and never contacts a provider.
"""
