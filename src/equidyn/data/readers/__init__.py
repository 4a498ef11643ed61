"""One reader per format of files; what all share is in records, archives, molecules and labels."""
