"""The version of this package, apart from what the package loads."""

__version__ = "0.1.0"
