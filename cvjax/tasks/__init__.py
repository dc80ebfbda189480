"""What a model is trained for, one kind of problem a file."""
