"""Reads rows from where they are: arrays, files, functions, Dask and MPI; and scans over all rows."""
