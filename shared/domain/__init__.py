"""The rules of the house: no I/O, no clock, no environment, no Azure."""
