"""What runs in the interpreter that has crewai: the standard library and crewai alone, on Python 3.10 or later."""
