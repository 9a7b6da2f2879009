"""What no paper claims as its own: data, metrics, runs, results, pictures."""
