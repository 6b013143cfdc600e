"""The front door: one HTTP address in front of every registered service.

Knows where instances are and what a call has to look like; not what services do with it. Bodies pass
through as they are: nothing here reads more of one than a model's name.
"""
