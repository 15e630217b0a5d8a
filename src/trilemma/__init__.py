"""What a classifier leaks about its training data, and what robustness costs in privacy."""

__version__ = "0.1.0"
