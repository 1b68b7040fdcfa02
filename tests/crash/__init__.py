"""The test machine: the whole app in one thread, under a virtual clock, crashed at every step by a seed.

What is real: the app's registered functions (orchestrators through the SDK's executor, activities, timers), its SDKs
down to the HTTP request, the SQLite hub in a file, the Azure simulator's ARM, the agent's own code. What is not: sockets
(`wire`), Blob Storage (`storage`, held to Azurite by test_storage.py), the agent's process (`agents`) and its bootstrap.
The e2e tests cover those with Azurite and real processes.
"""
