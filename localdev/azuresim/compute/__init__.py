"""The virtual machine, in the parts that Microsoft.Compute's routes are made of."""
