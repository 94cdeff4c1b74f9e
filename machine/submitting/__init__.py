"""A climb as a job of a cluster: `munro submit RECIPE --slurm | --ray-job`."""
