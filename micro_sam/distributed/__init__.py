"""Work on several processes or machines; dask is imported only where a cluster is opened."""
