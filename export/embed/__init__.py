"""What surrounds generated C in an application: raw input to codes, codes to labels, build files, packages."""
