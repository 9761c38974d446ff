"""What every run shares: command line, identity, data, report, card, evaluation, dry run."""
