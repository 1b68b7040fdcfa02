"""What runs on rented machines. Imports nothing of the app and needs only requirements.txt."""
