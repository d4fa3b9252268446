"""Daphne's development server.

Its own app, if it were installed, would load Twisted into every process of the portal.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
