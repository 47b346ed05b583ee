"""What the gateway itself answers over HTTP."""
