"""Speed, memory and what the representations know: run by hand, never timed in tests."""
