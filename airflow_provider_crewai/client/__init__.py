"""How we talk to a crew: pure decisions and flows, and two thin shells that send the requests."""
