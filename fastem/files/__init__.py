"""Tables, archives and data sets; files are written whole or not at all."""
