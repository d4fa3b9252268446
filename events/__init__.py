"""The event system: a durable log of what changed, streamed to everyone allowed to see it."""
