"""What a client needs around it: trust, the block of variables, a child process, a diagnosis."""
