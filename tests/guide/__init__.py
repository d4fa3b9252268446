"""What follows docs/integration.md to the letter: its blocks, a working copy, and a terminal."""
