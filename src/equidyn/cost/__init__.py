"""What a config costs before anything of it runs, and how fast machines are."""
