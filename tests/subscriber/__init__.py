"""An app with a subscription, for portals that run under `tests.subscriber.settings`."""
