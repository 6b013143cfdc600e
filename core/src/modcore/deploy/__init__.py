"""Placing services: launchers take a ServiceSpec and hand out a running Service.

Knows nothing of what a service does; the core's own launcher is `local`.
"""
