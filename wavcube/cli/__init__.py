"""The command line: one file for each verb that is not a task's."""
