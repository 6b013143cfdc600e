"""The `ray` launcher: Ray chooses a machine for each service, keeps it there, and is never on a call's way."""
