"""HTTP: the OpenAI API in front of an engine, its guard, and the server process.

Knows nothing of models or files; needs ``modcore[serve]``.
"""
