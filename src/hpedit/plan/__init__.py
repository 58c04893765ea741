"""What a training run will need - memory, disk, forwards, time - before anything is downloaded or started. No torch."""
