"""One function per step of the workflow: plain arguments in, files out."""
