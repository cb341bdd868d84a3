"""What several test suites share: a scripted server, a fault proxy, and a shell in virtual time."""
