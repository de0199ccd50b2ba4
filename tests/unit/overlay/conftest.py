"""Nothing here talks to a switch."""
