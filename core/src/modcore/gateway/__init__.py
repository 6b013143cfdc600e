"""Services that find each other: a registry of instances, and which of them a call goes to.

Knows nothing of what a service does or how it is started. A gateway stores signed documents with a
time to live (`base`); the serving side keeps one alive there (`registration`), the calling side reads a
snapshot in memory and chooses from it (`directory`, `balancer`): no call waits for a store.
"""
