"""Tables, archives, data sets, and writing that leaves a whole file or none."""
