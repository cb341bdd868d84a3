"""An example crew: a short brief about a topic."""
