"""The API on the wire: values, codec and errors. Uses only the standard library."""
