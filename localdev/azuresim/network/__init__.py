"""What a virtual machine needs of Microsoft.Network, in the parts its routes are made of."""
