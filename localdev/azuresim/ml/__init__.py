"""Azure Machine Learning. A module here that has `routes(world)` is served by providers/machine_learning.py."""
