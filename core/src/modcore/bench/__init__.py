"""Measuring an engine or a server: how much it answers, how soon it begins, how steadily it goes on.

Knows nothing of the command line. What is measured carries the names of ``vllm bench serve``.
"""
