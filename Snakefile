# Thin entry: everything is in workflow/. An included file never sets the default target, so it is named here.
include: "workflow/Snakefile"


workflow.default_target = "all"
