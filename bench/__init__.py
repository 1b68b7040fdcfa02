"""Measurements the README quotes. Each module is one command: `python -m bench.NAME`."""
