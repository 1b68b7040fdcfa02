"""Muster's scoring script: what an online deployment runs, behind Azure ML's inference server or any WSGI server.

`POST /score {"input_data": {"columns": [...], "data": [[...], ...]}}` -> `{"predictions": [...]}`.
"""
