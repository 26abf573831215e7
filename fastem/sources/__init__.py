"""Where rows come from: arrays, files, functions, Dask and MPI; and scans over all rows."""
