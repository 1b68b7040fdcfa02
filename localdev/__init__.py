"""What a laptop needs to run the app whole: an Azure simulator, a Functions host, a task hub. Never deployed."""
