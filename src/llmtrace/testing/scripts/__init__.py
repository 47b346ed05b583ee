"""What each provider answers, from its public documentation: one module per wire format."""
