"""The commands, one module each; the work is done by the modules of operations/."""
