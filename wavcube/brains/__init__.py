"""SpeechBrain Brains, one per task, and what they share: guard, checkpoints, schedules, logging."""
