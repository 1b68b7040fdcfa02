"""The demonstration: the whole app on one machine, on real data, with everything it did read back."""
