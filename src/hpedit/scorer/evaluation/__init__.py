"""What scorers are worth: agreement with people, with intervals by photo."""
