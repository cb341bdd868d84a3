"""What is said on the wire: values, codec and errors. Standard library only."""
